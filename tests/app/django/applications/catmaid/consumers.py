"""Notices to users' pages, the way that CATMAID's go: a task gives them to Celery's broker, and Daphne's channel layer
finds them there, if that is the same one.
"""

import json

import msgpack
from asgiref.sync import async_to_sync
from celery import current_app, current_task
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer


def group_of(user_id: object) -> str:
    return f"updates-{user_id}"


class Updates(AsyncWebsocketConsumer):
    """Whoever connects gets what is sent to this user; pages without a login are of the user None."""

    async def connect(self) -> None:
        self.group = group_of(self.scope["user"].id)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def user_message(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["data"])


def msg_user(user_id: object, event_name: str, data: object = "") -> None:
    message = {"type": "user.message", "data": json.dumps({"event": event_name, "payload": data})}
    group = group_of(user_id)
    if not current_task:
        async_to_sync(get_channel_layer().group_send)(group, message)
        return
    # In the form of channels_rabbitmq, which has no way to send by a worker's own connection.
    body = msgpack.packb(message | {"__asgi_group__": group})
    with current_app.producer_pool.acquire(block=True) as producer:
        producer.publish(body, exchange="groups", routing_key=group, content_encoding="binary", retry=False)
