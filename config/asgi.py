"""The web process: REST API, admin, worker sockets."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter

from config import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = handler.application()

from apps.coordinator.routes import sockets as workers  # noqa: E402 -- needs the app registry
from apps.realtime.routes import sockets as watchers  # noqa: E402
from apps.realtime.routes import with_streams  # noqa: E402

application = ProtocolTypeRouter(
    {"http": with_streams(http), "websocket": URLRouter([*workers, *watchers])}
)
