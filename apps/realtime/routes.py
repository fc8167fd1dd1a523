"""Where realtime is reached: one address, as a stream of events or as a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.urls import path

from apps.realtime.sockets import socket
from apps.realtime.streams import events

PATH = "realtime/v1/events"

# Channels routes sockets with Django's own path, whose types know only views
sockets = [path(PATH, cast(Any, socket))]


def with_streams(application: Callable[..., Any]) -> Callable[..., Any]:
    """Serve the streams beside an application, which answers everything else."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == f"/{PATH}" and scope["method"] == "GET":
            await events(scope, receive, send)
        else:
            await application(scope, receive, send)

    return serve
