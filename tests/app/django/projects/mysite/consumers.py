import json

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings


class Echo(AsyncWebsocketConsumer):
    """Sends back what it gets; asked ``whoami``, it tells what it sees of the connection, and ``sent``, all headers."""

    # It needs no broker.
    channel_layer_alias = ""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        headers = {k.decode(): v.decode() for k, v in self.scope["headers"]}
        if text_data == "sent":
            text_data = json.dumps(headers)
        elif text_data == "whoami":
            client = self.scope.get("client") or [None]
            text_data = json.dumps(
                {
                    "path": self.scope["path"],
                    "client": client[0],
                    "host": headers.get("host"),
                    "forwarded_host": headers.get("x-forwarded-host"),
                    "forwarded_for": headers.get("x-forwarded-for"),
                    "forwarded_proto": headers.get("x-forwarded-proto"),
                    "release": settings.RELEASE,
                }
            )
        await self.send(text_data=text_data, bytes_data=bytes_data)
