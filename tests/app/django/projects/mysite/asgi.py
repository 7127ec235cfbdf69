import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from catmaid.consumers import Updates  # noqa: E402
from channels.auth import AuthMiddlewareStack  # noqa: E402
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
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("channels/updates/", Updates.as_asgi()),
                    *(path(f"channels/{name}", Echo.as_asgi()) for name in ("", "echo/")),
                ]
            )
        ),
    }
)
