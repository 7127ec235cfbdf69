import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

# Django loads the URLs at the first request: what is broken in them is to show now, unless a test measures that.
if not settings.URL_SECONDS:
    from mysite import urls  # noqa: F401
