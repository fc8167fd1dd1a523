"""Where realtime is reached: streams of events, or a WebSocket, and the inputs of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.urls import path

from apps.realtime import inputs
from apps.realtime.sockets import socket
from apps.realtime.streams import events

PATH = "realtime/v1/events"

# Channels routes sockets with Django's own path, whose types know only views
sockets = [path(PATH, cast(Any, socket))]


def with_streams(application: Callable[..., Any]) -> Callable[..., Any]:
    """Serve the streams beside an application, which answers everything else."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        is_read = scope["method"] == "GET"
        if is_read and scope["path"] == f"/{PATH}":
            await events(scope, receive, send)
        elif is_read and inputs.PATH.fullmatch(scope["path"]):
            await inputs.input_items(scope, receive, send)
        else:
            await application(scope, receive, send)

    return serve
