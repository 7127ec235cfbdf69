import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

# Django reads the URLs at the first request: what is broken in them is to show now.
from . import urls  # noqa: E402,F401
