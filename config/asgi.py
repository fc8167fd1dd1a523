"""The web process: REST API, admin, worker sockets."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter

from config import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = handler.application()

from apps.coordinator.routes import sockets  # noqa: E402 -- needs the app registry

application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(sockets)})
