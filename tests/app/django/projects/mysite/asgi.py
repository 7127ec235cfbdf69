import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

# Django loads the URLs at the first request: what is broken in them is to show now, unless a test measures that.
if not settings.URL_SECONDS:
    from . import urls  # noqa: F401
from .consumers import Echo  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path(f"channels/{name}", Echo.as_asgi()) for name in ("", "echo/", "updates/")]),
    }
)
