"""The web process: REST API, admin, worker sockets."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter

from config import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = handler.application()

from django.conf import settings  # noqa: E402

from apps.api.trigger_route import TriggerRoute  # noqa: E402 -- needs the app registry
from apps.coordinator.routes import sockets as workers  # noqa: E402
from apps.realtime.routes import sockets as watchers  # noqa: E402
from apps.realtime.routes import with_streams  # noqa: E402

# the spans of requests are made by Django's layers, which the short way passes by
short = http if settings.OTEL_EXPORTER_OTLP_ENDPOINT else TriggerRoute(http)

application = ProtocolTypeRouter(
    {"http": with_streams(short), "websocket": URLRouter([*workers, *watchers])}
)
