"""Reading back what a run told: its log lines, its trace, one span."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.errors import BadRequest
from apps.api.schema import ErrorShape, errors
from apps.api.serializers.base import ObjectField, Shape
from apps.api.views.runs import READ, RunEndpoint
from apps.core import traces
from apps.core.ids import public_id
from apps.orgs.permissions import Permission
from apps.runs import queries as runs
from apps.runs.states import AttemptStatus
from apps.telemetry import queries
from apps.telemetry.errors import TelemetryUnavailable
from apps.telemetry.queries import LogCursor, LogLine, SpanCursor
from apps.telemetry.rows import LEVELS
from apps.telemetry.trace import Node, Span

_PAGE_SIZE = 100
_LARGEST_PAGE = 1_000
_UNAVAILABLE = {
    503: OpenApiResponse(ErrorShape, description="ClickHouse does not answer; runs go on.")
}


class LogLineShape(Shape):
    """One log line of a run."""

    time = serializers.DateTimeField()
    level = serializers.ChoiceField(choices=LEVELS)
    message = serializers.CharField()
    attributes = ObjectField()
    attempt = serializers.IntegerField()
    spanId = serializers.CharField(required=False)


class LogCursorsShape(Shape):
    """`next` while there are more lines; `latest` is where to ask for those yet to come."""

    next = serializers.CharField(required=False)
    latest = serializers.CharField(required=False)


class LogPageShape(Shape):
    """A page of log lines, oldest first."""

    data = LogLineShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = LogCursorsShape()


class SpanDataShape(Shape):
    """What a span says; durations are milliseconds."""

    message = serializers.CharField()
    startTime = serializers.DateTimeField()
    duration = serializers.FloatField()
    isError = serializers.BooleanField()
    isPartial = serializers.BooleanField()
    isCancelled = serializers.BooleanField()
    level = serializers.CharField()
    attemptNumber = serializers.IntegerField(required=False)
    taskSlug = serializers.CharField(required=False)
    workerVersion = serializers.CharField(required=False)
    queueName = serializers.CharField(required=False)
    machinePreset = serializers.CharField(required=False)
    properties = ObjectField(required=False)
    events = serializers.ListField(child=ObjectField(), required=False)


class SpanNodeShape(Shape):
    """A span with those below it."""

    id = serializers.CharField()
    parentId = serializers.CharField(required=False)
    runId = serializers.CharField()
    data = SpanDataShape()  # type: ignore[assignment]  # the wire's name
    children = serializers.ListField(child=ObjectField())


class TreeShape(Shape):
    """A run's spans as a tree; `truncated` when there are more than it can show."""

    traceId = serializers.CharField()
    rootSpan = SpanNodeShape()
    truncated = serializers.BooleanField(required=False)


class FlatSpanShape(SpanDataShape):
    """A span by itself."""

    id = serializers.CharField()
    parentId = serializers.CharField(required=False)
    runId = serializers.CharField()


class TriggeredRunShape(Shape):
    """A run that was started from a span."""

    id = serializers.CharField()
    taskIdentifier = serializers.CharField()
    status = serializers.CharField()
    createdAt = serializers.DateTimeField()


class SpanDetailShape(FlatSpanShape):
    """A span with what was started from it."""

    triggeredRuns = TriggeredRunShape(many=True, required=False)


class AttemptFailureShape(Shape):
    """An attempt that did not succeed."""

    spanId = serializers.CharField()
    attemptNumber = serializers.IntegerField()
    runId = serializers.CharField()


class NextShape(Shape):
    """Where the next page begins."""

    next = serializers.CharField(required=False)


class TraceShape(Shape):
    """The tree under `trace`; with `page[size]`, a flat page under `data` instead."""

    trace = TreeShape(required=False)
    data = FlatSpanShape(many=True, required=False)  # type: ignore[assignment]  # so too
    attemptFailures = AttemptFailureShape(many=True, required=False)
    pagination = NextShape(required=False)


_PAGING = [
    OpenApiParameter("page[size]", int, description=f"1 to {_LARGEST_PAGE}."),
    OpenApiParameter("page[after]", str, description="A cursor of an earlier answer."),
]


class _Told(RunEndpoint):
    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if isinstance(exc, TelemetryUnavailable):
            response["Retry-After"] = str(exc.detail["retry_after"])
        return response


class RunLogs(_Told):
    """What a run logged."""

    @extend_schema(
        operation_id="list_run_logs",
        summary="List a run's log lines, oldest first",
        parameters=[
            *_PAGING,
            OpenApiParameter("filter[level]", str, description="Levels, separated by commas."),
            OpenApiParameter("filter[search]", str, description="Text that the message contains."),
        ],
        responses={200: LogPageShape, **errors(400, 401, 403, 404), **_UNAVAILABLE},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        size = _size(request) or _PAGE_SIZE
        asked = request.query_params.get("page[after]")
        lines = queries.run_logs(
            self.scope,
            found.id,
            after=_log_cursor(asked) if asked else None,
            limit=size + 1,
            levels=_levels(request),
            search=request.query_params.get("filter[search]", ""),
        )
        shown = lines[:size]
        latest = _spell(shown[-1].time_ns, f"{shown[-1].sequence:x}") if shown else asked
        cursors = {"next": latest if len(lines) > size else None, "latest": latest}
        return Response({"data": [_line(line) for line in shown], "pagination": _known(cursors)})


class RunTrace(_Told):
    """What a run did, as spans."""

    @extend_schema(
        operation_id="retrieve_run_trace",
        summary="Retrieve a run's trace: a tree, or flat pages with `page[size]`",
        parameters=_PAGING,
        responses={200: TraceShape, **errors(400, 401, 403, 404), **_UNAVAILABLE},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        size = _size(request)
        return Response(self._page(request, found, size) if size else self._tree(found))

    def _tree(self, run: Any) -> dict[str, Any]:
        trace = queries.run_trace(self.scope, run.id, now=self.now)
        truncated = True if trace.is_truncated else None
        tree = {"traceId": trace.trace_id, "rootSpan": _node(trace.root), "truncated": truncated}
        return {"trace": _known(tree)}

    def _page(self, request: Request, run: Any, size: int) -> dict[str, Any]:
        asked = request.query_params.get("page[after]")
        page = queries.run_spans(
            self.scope,
            run.id,
            now=self.now,
            after=_span_cursor(asked) if asked else None,
            limit=size,
        )
        more = {"next": _spell(page.next.start_ns, page.next.span_id)} if page.next else {}
        return {
            "data": [_flat(span) for span in page.spans],
            "attemptFailures": [
                {
                    "spanId": traces.span_id(run.id),
                    "attemptNumber": attempt.number,
                    "runId": public_id("run", run.id),
                }
                for attempt in runs.attempts(self.scope, run.id)
                if attempt.status not in {AttemptStatus.COMPLETED, AttemptStatus.EXECUTING}
            ],
            "pagination": more,
        }


class RunSpan(_Told):
    """One span of a run."""

    @extend_schema(
        operation_id="retrieve_run_span",
        summary="Retrieve a span of a run",
        responses={200: SpanDetailShape, **errors(401, 403, 404), **_UNAVAILABLE},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str, span: str) -> Response:
        found = self.run_for("read", run)
        told = queries.run_span(self.scope, found.id, span, now=self.now)
        children = runs.child_runs(self.scope, found.id) if told.run is not None else []
        triggered = [
            {
                "id": public_id("run", child.id),
                "taskIdentifier": child.task,
                "status": child.status,
                "createdAt": child.created_at,
            }
            for child in children
        ]
        more = {"triggeredRuns": triggered} if triggered else {}
        return Response(
            _flat(told) | {"properties": told.attributes, "events": _events(told)} | more
        )


def _line(line: LogLine) -> dict[str, Any]:
    return _known(
        {
            "time": _moment(line.time_ns),
            "level": line.level,
            "message": line.message,
            "attributes": line.attributes,
            "attempt": line.attempt,
            "spanId": line.span_id or None,
        }
    )


def _node(node: Node) -> dict[str, Any]:
    span = node.span
    data = _data(span) | {"properties": span.attributes, "events": _events(span)}
    return _ids(span) | {"data": data, "children": [_node(child) for child in node.children]}


def _flat(span: Span) -> dict[str, Any]:
    return _ids(span) | _data(span)


def _ids(span: Span) -> dict[str, Any]:
    return _known(
        {
            "id": span.span_id,
            "parentId": span.parent_span_id or None,
            "runId": public_id("run", span.run_id),
        }
    )


def _data(span: Span) -> dict[str, Any]:
    run = span.run
    return _known(
        {
            "message": span.name,
            "startTime": _moment(span.start_ns),
            "duration": span.duration_ns / 1_000_000,
            "isError": span.is_error,
            "isPartial": not span.is_final,
            "isCancelled": span.is_canceled,
            "level": span.level,
            "attemptNumber": span.attempt or None,
            "taskSlug": run.task if run else None,
            "workerVersion": run.version_number if run else None,
            "queueName": run.queue if run else None,
            "machinePreset": run.machine if run else None,
        }
    )


def _events(span: Span) -> list[dict[str, Any]]:
    return [event | {"time": _moment(event["time"])} for event in span.events]


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{rest // 1_000:06d}Z"


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _size(request: Request) -> int | None:
    asked = request.query_params.get("page[size]")
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdecimal() and 0 < int(asked[:9]) <= _LARGEST_PAGE):
        raise BadRequest(f"page[size] must be a whole number from 1 to {_LARGEST_PAGE}")
    return int(asked)


def _levels(request: Request) -> list[str]:
    asked = request.query_params.get("filter[level]", "")
    levels = [level.strip().upper() for level in asked.split(",") if level.strip()]
    if not set(levels) <= set(LEVELS):
        raise BadRequest(f"filter[level] must be of {', '.join(LEVELS)}")
    return levels


def _spell(nanoseconds: int, rest: str) -> str:
    return f"{nanoseconds:x}.{rest}"


def _log_cursor(text: str) -> LogCursor:
    time_ns, rest = _read(text)
    return LogCursor(time_ns=time_ns, sequence=_hexadecimal(rest, below=2**64))


def _span_cursor(text: str) -> SpanCursor:
    start_ns, rest = _read(text)
    return SpanCursor(start_ns=start_ns, span_id=rest)


def _read(text: str) -> tuple[int, str]:
    first, _, rest = text.partition(".")
    return _hexadecimal(first, below=2**63), rest


def _hexadecimal(text: str, *, below: int) -> int:
    try:
        number = int(text, 16)
    except ValueError:
        number = -1
    if not 0 <= number < below:
        raise BadRequest("page[after] is not a cursor of this list")
    return number


log_routes = [
    path("api/v1/runs/<str:run>/logs", RunLogs.as_view()),
    path("api/v1/runs/<str:run>/trace", RunTrace.as_view()),
    path("api/v1/runs/<str:run>/spans/<str:span>", RunSpan.as_view()),
]
