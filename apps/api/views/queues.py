"""Queues: which there are, and how much waits in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint
from apps.api.errors import BadRequest
from apps.api.paging import NUMBER_PARAMETERS, numbered
from apps.api.schema import errors
from apps.api.serializers.queues import QueuePageShape, QueueShape
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id
from apps.deployments import queries
from apps.environments.scope import Scope
from apps.runs.queries import queue_loads

_TYPES = ("id", "task", "custom")


class QueueList(Endpoint):
    """The queues of an environment."""

    @extend_schema(
        operation_id="list_queues",
        summary="List queues by name",
        parameters=NUMBER_PARAMETERS,
        responses={200: QueuePageShape, **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        shown, place = numbered(request.query_params, queries.list_queues(self.scope))
        return Response({"data": _shapes(self.scope, shown), "pagination": place})


class QueueDetail(Endpoint):
    """One queue."""

    @extend_schema(
        operation_id="retrieve_queue",
        summary="Retrieve a queue by its id, or by the name of its task or its own",
        parameters=[
            OpenApiParameter("type", str, enum=_TYPES, description="What the path names; `id`.")
        ],
        responses={200: QueueShape, **errors(400, 401, 403, 404)},
    )
    @accepts(public=Public("read", ("queues",)))
    def get(self, request: Request, queue: str) -> Response:
        found = self._find(queue.replace("%2F", "/"), request.query_params.get("type", "id"))
        self.caller.require("read", [("queues", queue), ("queues", found.name)])
        return Response(_shapes(self.scope, [found])[0])

    def _find(self, named: str, kind: str) -> Any:
        if kind not in _TYPES:
            raise BadRequest(f"type must be one of {', '.join(_TYPES)}")
        if kind != "id":
            name = f"task/{named}" if kind == "task" else named
            return queries.get_queue(self.scope, name)
        wanted = parse_public_id("queue", named)
        for queue in queries.list_queues(self.scope):
            if queue.id == wanted:
                return queue
        raise NotFound("There is no such queue in this environment")


def _shapes(scope: Scope, queues: Sequence[Any]) -> Any:
    loads = queue_loads(scope, [queue.name for queue in queues])
    return QueueShape(
        [
            {
                "id": queue.id,
                "name": queue.name.removeprefix("task/") if queue.type == "task" else queue.name,
                "type": queue.type,
                "running": loads[queue.name].running,
                "queued": loads[queue.name].queued,
                "paused": queue.paused_at is not None,
                "concurrencyLimit": queue.effective_limit,
                "concurrency": {
                    "current": queue.effective_limit,
                    "base": queue.concurrency_limit,
                    "override": queue.override,
                    "overriddenAt": queue.overridden_at,
                    "overriddenBy": None,
                },
            }
            for queue in queues
        ],
        many=True,
    ).data
