"""Queues: which there are, how much waits in them, and what people may change about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest
from apps.api.paging import NUMBER_PARAMETERS, numbered
from apps.api.schema import errors
from apps.api.serializers.queues import (
    TYPES,
    QueueOverrideBody,
    QueuePageShape,
    QueuePauseBody,
    QueueShape,
    QueueTargetBody,
)
from apps.deployments import queries
from apps.deployments.operations import queues as operations
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission
from apps.runs.queries import queue_loads

_TARGET = QueueTargetBody()
_PAUSE = QueuePauseBody()
_OVERRIDE = QueueOverrideBody()


class QueueEndpoint(Endpoint):
    """What the endpoints of one queue share: finding it by what the path names."""

    def named(self, queue: str, kind: str) -> Any:
        """The queue; clients encode a slash in its name twice."""
        named = queue.replace("%2F", "/")
        if kind == "id":
            return queries.get_queue_by_id(self.scope, named)
        return queries.get_queue(self.scope, f"task/{named}" if kind == "task" else named)

    def answer(self, queue: Any) -> Response:
        return Response(_shapes(self.scope, [queue], now=self.now)[0])


class QueueList(Endpoint):
    """The queues of an environment."""

    @extend_schema(
        operation_id="list_queues",
        summary="List queues by name",
        parameters=NUMBER_PARAMETERS,
        responses={200: QueuePageShape, **errors(400, 401)},
    )
    @accepts(member=Permission.QUEUES_READ)
    def get(self, request: Request) -> Response:
        shown, place = numbered(request.query_params, queries.list_queues(self.scope))
        return Response({"data": _shapes(self.scope, shown, now=self.now), "pagination": place})


class QueueDetail(QueueEndpoint):
    """One queue."""

    @extend_schema(
        operation_id="retrieve_queue",
        summary="Retrieve a queue by its id, or by the name of its task or its own",
        parameters=[
            OpenApiParameter("type", str, enum=TYPES, description="What the path names; `id`.")
        ],
        responses={200: QueueShape, **errors(400, 401, 403, 404)},
    )
    @accepts(public=Public("read", ("queues",)), member=Permission.QUEUES_READ)
    def get(self, request: Request, queue: str) -> Response:
        kind = request.query_params.get("type", "id")
        if kind not in TYPES:
            raise BadRequest(f"type must be one of {', '.join(TYPES)}")
        found = self.named(queue, kind)
        self.caller.require("read", [("queues", queue), ("queues", found.name)])
        return self.answer(found)


class QueuePause(QueueEndpoint):
    """No more runs of a queue start, or they start again."""

    @extend_schema(
        operation_id="pause_queue",
        summary="Pause or resume a queue; runs that execute go on",
        request=QueuePauseBody,
        responses={200: QueueShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, queue: str) -> Response:
        asked = read(_PAUSE, request.data)
        name = self.named(queue, asked.get("type", "id")).name
        is_pause = asked["action"] == "pause"
        change = operations.pause_queue if is_pause else operations.resume_queue
        return self.answer(change(self.scope, name=name, now=self.now))


class QueueOverride(QueueEndpoint):
    """Another limit than the one in code."""

    @extend_schema(
        operation_id="override_queue_concurrency",
        summary="Override the concurrency limit of a queue",
        request=QueueOverrideBody,
        responses={200: QueueShape, **errors(400, 401, 404, 422)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, queue: str) -> Response:
        asked = read(_OVERRIDE, request.data)
        name, percent = self.named(queue, asked.get("type", "id")).name, asked.get("percent")
        if percent is not None:
            changed = operations.override_percent(
                self.scope, name=name, percent=percent, now=self.now
            )
        else:
            changed = operations.override_limits(
                self.scope, name=name, per_key=asked.get("concurrencyLimit"),
                total=asked.get("totalLimit"), now=self.now,
            )  # fmt: skip
        return self.answer(changed)


class QueueReset(QueueEndpoint):
    """The limit in code again."""

    @extend_schema(
        operation_id="reset_queue_concurrency",
        summary="Let the limit in code count again",
        request=QueueTargetBody,
        responses={200: QueueShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, queue: str) -> Response:
        name = self.named(queue, read(_TARGET, request.data).get("type", "id")).name
        return self.answer(operations.reset_limits(self.scope, name=name, now=self.now))


def _shapes(scope: Scope, queues: Sequence[Any], *, now: datetime) -> Any:
    loads = queue_loads(scope, [queue.name for queue in queues], now=now)
    return QueueShape(
        [_shape(queue, loads[queue.name]) for queue in queues], many=True
    ).data  # fmt: skip


def _shape(queue: Any, load: Any) -> dict[str, Any]:
    return {
        "id": queue.id,
        "name": queue.name.removeprefix("task/") if queue.type == "task" else queue.name,
        "type": queue.type,
        "running": load.running,
        "queued": load.queued,
        "paused": queue.paused_at is not None,
        "concurrencyLimit": queue.effective_limit,
        "concurrency": {
            "current": queue.effective_limit,
            "base": queue.concurrency_limit,
            "override": queue.override,
            "overriddenAt": queue.overridden_at,
            "overriddenBy": queue.overridden_by or None,
        },
        "totalLimit": queue.effective_total,
        "rate": queue.rate,
        "keyRate": queue.key_rate,
        "maxQueued": queue.max_queued,
        "weight": queue.weight,
        "heldUntil": load.held_until,
    }
