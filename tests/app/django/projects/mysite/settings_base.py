"""What every instance of the stand-in shares; ``settings.py`` adds an instance's own values."""

import sys
import time
from pathlib import Path

DJANGO_DIR = Path(__file__).resolve().parents[2]
sys.path.append(str(DJANGO_DIR / "applications"))
RELEASE = (DJANGO_DIR / "RELEASE").read_text().strip()
# CATMAID takes seconds to import; a test that needs the same writes the number here.
_delay = DJANGO_DIR / "IMPORT_SECONDS"
if _delay.exists():
    time.sleep(float(_delay.read_text()))
# Django loads the URLs for a process's first request, which takes CATMAID seconds as well: written here by a test.
_urls = DJANGO_DIR / "URL_SECONDS"
URL_SECONDS = float(_urls.read_text()) if _urls.exists() else 0.0
# CATMAID's processes ask the broker for this exchange while they are imported, and wait for it: a test that needs the
# same makes the file.
DECLARES_EXCHANGE = (DJANGO_DIR / "DECLARES_EXCHANGE").exists()
# Users, sessions and notes in PostgreSQL, as CATMAID has them: the way from a bare host makes the file.
TABLES = (DJANGO_DIR / "TABLES").exists()
# A release that is broken on purpose: see broken.py.
_broken = DJANGO_DIR / "BROKEN"
BROKEN = _broken.read_text().strip() if _broken.exists() else ""

DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
ASGI_APPLICATION = "mysite.asgi.application"
INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "mysite.apps.ContentTypes",
    "mysite.apps.Auth",
    "django.contrib.sessions",
    "channels",
    "mysite",
]
if TABLES:
    # It needs pkg_resources, which only older setuptools have, and says so nowhere.
    import pipeline  # noqa: F401

    INSTALLED_APPS[1:3] = ["django.contrib.contenttypes", "django.contrib.auth"]
    INSTALLED_APPS.append("catmaid")
    DECLARES_EXCHANGE = True
else:
    # Sessions are files, and users have no table: the stand-in has no database.
    SESSION_ENGINE = "django.contrib.sessions.backends.file"
    AUTHENTICATION_BACKENDS = ["guardian.backends.Nobody"]
    MIGRATION_MODULES = {"auth": None, "contenttypes": None, "sessions": None}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = [
    "mysite.views.log_requests",
    "django.middleware.common.CommonMiddleware",
]
if TABLES:
    MIDDLEWARE += [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).resolve().parent / "templates"],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES: dict[str, object] = {}
STATICFILES_DIRS = [DJANGO_DIR / "assets"]
if TABLES:
    # The page asks for files by names that only the manifest knows.
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
DATA_UPLOAD_MAX_MEMORY_SIZE = None
CELERY_RESULT_BACKEND = "rpc://"
CELERY_RESULT_EXPIRES = 600
CELERY_BEAT_SCHEDULE = {"heartbeat": {"task": "mysite.tasks.heartbeat", "schedule": 5.0}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"mysite": {"handlers": ["console"], "level": "INFO"}},
}
