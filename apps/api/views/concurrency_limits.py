"""Concurrency limits: the bounds of queues, per key and in total, as the contract has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest
from apps.api.paging import NUMBER_PARAMETERS, numbered
from apps.api.schema import errors
from apps.api.serializers.queues import (
    ConcurrencyLimitPageShape,
    ConcurrencyLimitShape,
    LimitOfKeyShape,
    LimitOverrideBody,
    LimitPauseBody,
    LimitResetBody,
)
from apps.api.trigger_requests import lifetime
from apps.core.errors import Invalid
from apps.deployments import queries
from apps.deployments.operations import queues as operations
from apps.environments.queries import get_environment
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission
from apps.runs.queries import queue_loads, running_of_key

_OVERRIDE = LimitOverrideBody()
_PAUSE = LimitPauseBody()
_RESET = LimitResetBody()


class ConcurrencyLimitList(Endpoint):
    """The queues that have a limit."""

    @extend_schema(
        operation_id="list_concurrency_limits",
        summary="List concurrency limits by name",
        parameters=NUMBER_PARAMETERS,
        responses={200: ConcurrencyLimitPageShape, **errors(400, 401)},
    )
    @accepts(member=Permission.QUEUES_READ)
    def get(self, request: Request) -> Response:
        limited = queries.list_limited_queues(self.scope)
        shown, place = numbered(request.query_params, limited)
        return Response({"data": _shapes(self.scope, shown, now=self.now), "pagination": place})


class ConcurrencyLimitDetail(Endpoint):
    """The limits of one queue, or of one of its keys."""

    @extend_schema(
        operation_id="retrieve_concurrency_limit",
        summary="Retrieve a concurrency limit, or how it stands for one concurrency key",
        parameters=[OpenApiParameter("concurrencyKey", str, description="One key's view.")],
        responses={200: ConcurrencyLimitShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.QUEUES_READ)
    def get(self, request: Request, limit: str) -> Response:
        key = request.query_params.get("concurrencyKey")
        if key == "":
            raise BadRequest("concurrencyKey must not be empty")
        if key is not None:
            return Response(_of_key(self.scope, limit, key, now=self.now))
        return Response(
            _shapes(self.scope, [queries.get_queue(self.scope, limit)], now=self.now)[0]
        )


class ConcurrencyLimitOverride(Endpoint):
    """Other bounds than those in code; of one key, for a while."""

    @extend_schema(
        operation_id="override_concurrency_limit",
        summary="Override the bounds of a limit, or of one concurrency key",
        request=LimitOverrideBody,
        responses={200: ConcurrencyLimitShape, **errors(400, 401, 404, 422)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, limit: str) -> Response:
        asked = read(_OVERRIDE, request.data)
        _check(asked)
        if (key := asked.get("concurrencyKey")) is None:
            changed = operations.override_limits(
                self.scope, name=limit, per_key=asked.get("perKey"), total=asked.get("total"),
                now=self.now,
            )  # fmt: skip
            return Response(_shapes(self.scope, [changed], now=self.now)[0])
        life = operations.KEY_OVERRIDE
        if "ttl" in asked:
            life = lifetime(asked["ttl"], field="ttl")
        operations.override_key(
            self.scope, name=limit, key=key, per_key=asked["perKey"], life=life, now=self.now
        )
        return Response(_of_key(self.scope, limit, key, now=self.now))


class ConcurrencyLimitPause(Endpoint):
    """No more runs that hold the limit start, or they start again."""

    @extend_schema(
        operation_id="pause_concurrency_limit",
        summary="Pause or resume a limit",
        request=LimitPauseBody,
        responses={200: ConcurrencyLimitShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, limit: str) -> Response:
        is_pause = read(_PAUSE, request.data)["action"] == "pause"
        change = operations.pause_queue if is_pause else operations.resume_queue
        changed = change(self.scope, name=limit, now=self.now)
        return Response(_shapes(self.scope, [changed], now=self.now)[0])


class ConcurrencyLimitReset(Endpoint):
    """The bounds in code again."""

    @extend_schema(
        operation_id="reset_concurrency_limit",
        summary="Let the bounds in code count again, or those of one key",
        request=LimitResetBody,
        responses={200: ConcurrencyLimitShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.QUEUES_WRITE)
    def post(self, request: Request, limit: str) -> Response:
        key = read(_RESET, request.data).get("concurrencyKey")
        if key is None:
            changed = operations.reset_limits(self.scope, name=limit, now=self.now)
            return Response(_shapes(self.scope, [changed], now=self.now)[0])
        operations.reset_key(self.scope, name=limit, key=key, now=self.now)
        return Response(_of_key(self.scope, limit, key, now=self.now))


def _check(asked: dict[str, Any]) -> None:
    """What fits together only with a concurrency key, or without one."""
    if "concurrencyKey" in asked:
        if "perKey" not in asked:
            raise Invalid("a key's override needs perKey", detail={"perKey": ["is missing"]})
        if "total" in asked:
            raise Invalid("total is not per key", detail={"total": ["not with concurrencyKey"]})
    elif "ttl" in asked:
        raise Invalid("ttl is for one concurrencyKey", detail={"ttl": ["needs concurrencyKey"]})


def _shapes(scope: Scope, queues: Sequence[Any], *, now: datetime) -> Any:
    loads = queue_loads(scope, [queue.name for queue in queues], now=now)
    ceiling = get_environment(scope).concurrency_limit
    return ConcurrencyLimitShape(
        [
            {
                "id": queue.id,
                "name": queue.name,
                "perKey": {
                    "current": _within(queue.effective_limit, ceiling),
                    "base": queue.concurrency_limit,
                    "override": queue.override,
                    "overriddenAt": queue.overridden_at,
                },
                "total": {
                    "current": _within(queue.effective_total, ceiling),
                    "base": queue.total_limit,
                    "override": queue.total_override,
                    "overriddenAt": queue.total_overridden_at,
                },
                "running": loads[queue.name].running,
                "queued": loads[queue.name].queued,
                "paused": queue.paused_at is not None,
            }
            for queue in queues
        ],
        many=True,
    ).data


def _of_key(scope: Scope, name: str, key: str, *, now: Any) -> Any:
    queue = queries.get_queue(scope, name)
    override = queries.key_override(scope, name, key, now=now)
    ceiling = get_environment(scope).concurrency_limit
    limit = override.cap if override else queue.effective_limit
    return LimitOfKeyShape(
        {
            "name": queue.name,
            "concurrencyKey": key,
            "perKey": {
                "current": _within(limit, ceiling),
                "base": queue.effective_limit,
                "override": override.cap if override else None,
                "expiresAt": override.expires_at if override else None,
            },
            "running": running_of_key(scope, name, key),
            "paused": queue.paused_at is not None,
        }
    ).data


def _within(limit: int | None, ceiling: int) -> int | None:
    return None if limit is None else min(limit, ceiling)
