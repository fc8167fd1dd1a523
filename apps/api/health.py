"""Whether this process lives, whether it can serve, and what it counts."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg_pool import PoolTimeout
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint
from apps.api.errors import Unauthorized
from apps.telemetry.errors import StoreDown
from apps.telemetry.store import store

_PROBE_SECONDS = 1


@extend_schema(exclude=True)
class _Open(Endpoint):
    authentication_classes = ()


class Live(_Open):
    """GET /health/live: the process answers; a restart would not help with anything else."""

    @accepts(anybody=True)
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class Ready(_Open):
    """GET /health/ready: PostgreSQL alone decides, for runs go on without the other stores."""

    @accepts(anybody=True)
    def get(self, request: Request) -> Response:
        checks = {name: _state(probe) for name, probe in _PROBES.items()}
        is_ready = checks["postgresql"] == "ok"
        is_whole = set(checks.values()) == {"ok"}
        status = ("ok" if is_whole else "degraded") if is_ready else "unavailable"
        return Response({"status": status, "checks": checks}, status=200 if is_ready else 503)


class MetricsPage(_Open):
    """GET /metrics: this process's metrics for Prometheus, behind METRICS_TOKEN when it is set."""

    @accepts(anybody=True)
    def get(self, request: Request) -> HttpResponse:
        wanted = f"Bearer {settings.METRICS_TOKEN}"
        given = request.headers.get("Authorization", "")
        if settings.METRICS_TOKEN and not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Unauthorized("Invalid or missing metrics token")
        return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _state(probe: Callable[[], None]) -> str:
    # What failed is for the log of the process, not for whoever can reach this page.
    try:
        probe()
    except (DatabaseError, PoolTimeout, redis.RedisError, StoreDown, OSError):
        return "unreachable"
    return "ok"


def _probe_postgresql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _probe_redis() -> None:
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=_PROBE_SECONDS, socket_timeout=_PROBE_SECONDS
    ) as client:
        client.ping()


def _probe_clickhouse() -> None:
    store().ping()


_PROBES: dict[str, Callable[[], None]] = {
    "postgresql": _probe_postgresql,
    "redis": _probe_redis,
    "clickhouse": _probe_clickhouse,
}

health_routes = [
    path("health/live", Live.as_view()),
    path("health/ready", Ready.as_view()),
    path("metrics", MetricsPage.as_view()),
]
