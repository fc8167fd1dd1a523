"""The web process: REST API, admin, worker sockets."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = get_asgi_application()

from apps.coordinator.routes import sockets  # noqa: E402 -- needs the app registry

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(sockets)})
