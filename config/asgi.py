"""The web process: REST API, admin, worker sockets."""

import gc
import os

from channels.routing import ProtocolTypeRouter, URLRouter

from config import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

http = handler.application()

from django.conf import settings  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from apps.api.trigger_route import TriggerRoute  # noqa: E402 -- needs the app registry
from apps.coordinator.routes import sockets as workers  # noqa: E402
from apps.realtime.routes import sockets as watchers  # noqa: E402
from apps.realtime.routes import with_streams  # noqa: E402

# the spans of requests are made by Django's layers, which the short way passes by
triggers = None if settings.OTEL_EXPORTER_OTLP_ENDPOINT else TriggerRoute(http)

application = ProtocolTypeRouter(
    {"http": with_streams(triggers or http), "websocket": URLRouter([*workers, *watchers])}
)

# Load every view now, since the first request would do so while all others wait behind it, and
# spare what is there by now from collections, which would stop the process for 0.1 s each.
list(get_resolver().reverse_dict)
gc.collect()
gc.freeze()
