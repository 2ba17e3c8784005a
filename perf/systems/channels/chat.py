"""The original design: Django Channels on channels_redis, written as in the documentation of Channels.

`uvicorn chat:application --workers 6`, with REDIS_PORT in the environment. A client joins the group that its path
names, and gets the bodies of POSTs to /publish/<group>. Runs in a virtual environment of its own, never in ours.
"""
# mypy: ignore-errors
# Django is not installed where our types are checked.

import os

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path

settings.configure(
    SECRET_KEY="of a server that listens on loopback for a minute",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [("127.0.0.1", int(os.environ["REDIS_PORT"]))]},
        }
    },
)


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.group = self.scope["url_route"]["kwargs"]["group"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def chat_message(self, event):
        await self.send(text_data=event["text"])


async def publish(request, group):
    await get_channel_layer().group_send(group, {"type": "chat.message", "text": request.body.decode()})
    return HttpResponse(status=204)


urlpatterns = [path("publish/<str:group>", publish)]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([re_path(r"^ws/(?P<group>[\w.-]+)$", ChatConsumer.as_asgi())]),
    }
)
