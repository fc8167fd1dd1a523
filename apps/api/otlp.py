"""OTLP/HTTP intake: workers and any OpenTelemetry exporter deliver here with an environment key.

Requests are JSON or protobuf, gzip or plain, and are answered in kind: refusals too are the
`Status` message that the OTLP specification asks for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.endpoint import Endpoint, JSONWhateverIsAsked
from apps.api.errors import UnsupportedContent
from apps.api.parsers import read_limited
from apps.core.errors import TooLarge
from apps.telemetry.errors import MalformedExport
from apps.telemetry.limits import limits
from apps.telemetry.operations import intake
from apps.telemetry.operations.intake import Encoding, Taken

_CONTENT_TYPES = {
    Encoding.JSON: "application/json",
    Encoding.PROTOBUF: "application/x-protobuf",
}
_ENCODINGS = {content_type: encoding for encoding, content_type in _CONTENT_TYPES.items()}
_GZIP = 16 + zlib.MAX_WBITS
# google.rpc.Code of our statuses; anything else is UNKNOWN.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14}
_UNKNOWN = 2


class JSONMessages(BaseRenderer):
    """Protobuf messages in their JSON form."""

    media_type = _CONTENT_TYPES[Encoding.JSON]
    charset = None

    def render(
        self,
        data: Message,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return MessageToJson(data, indent=None).encode()


class ProtobufMessages(BaseRenderer):
    """Protobuf messages as they are."""

    media_type = _CONTENT_TYPES[Encoding.PROTOBUF]
    charset = None

    def render(
        self,
        data: Message,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return data.SerializeToString()


class InKind(JSONWhateverIsAsked):
    """Answers in the encoding of the request."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        named = _content_type(request)
        by_type = {renderer.media_type: renderer for renderer in renderers}
        chosen = by_type.get(named) or by_type[JSONMessages.media_type]
        return chosen, chosen.media_type


@extend_schema(exclude=True)
class _Intake(Endpoint):
    renderer_classes = (JSONMessages, ProtobufMessages)
    content_negotiation_class = InKind
    take: ClassVar[Callable[..., Taken]]

    def post(self, request: Request) -> HttpResponse:
        taken = type(self).take(
            self.scope, encoding=_encoding(request), body=_body(request), now=self.now
        )
        # Not DRF's Response: it takes the content type from an empty message, which a success is.
        chosen = request.accepted_renderer
        return HttpResponse(chosen.render(self.success(taken)), content_type=chosen.media_type)

    def success(self, taken: Taken) -> Message:
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Response:
        refusal = super().handle_exception(exc)
        code = _CODES.get(refusal.status_code, _UNKNOWN)
        refusal.data = Status(code=code, message=str(refusal.data["error"]))
        return refusal


class Traces(_Intake):
    """POST /otel/v1/traces"""

    take = staticmethod(intake.take_spans)

    def success(self, taken: Taken) -> Message:
        answer = ExportTraceServiceResponse()
        if taken.rejected:
            answer.partial_success.rejected_spans = taken.rejected
            answer.partial_success.error_message = taken.message
        return answer


class Logs(_Intake):
    """POST /otel/v1/logs"""

    take = staticmethod(intake.take_logs)

    def success(self, taken: Taken) -> Message:
        return ExportLogsServiceResponse()


class Metrics(_Intake):
    """POST /otel/v1/metrics: counted and honestly rejected, for metrics are not stored."""

    take = staticmethod(intake.take_metrics)

    def success(self, taken: Taken) -> Message:
        answer = ExportMetricsServiceResponse()
        if taken.rejected:
            answer.partial_success.rejected_data_points = taken.rejected
            answer.partial_success.error_message = taken.message
        return answer


def _content_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _encoding(request: Request) -> Encoding:
    if (named := _content_type(request)) not in _ENCODINGS:
        raise UnsupportedContent(f"Content-Type must be {' or '.join(_ENCODINGS)}")
    return _ENCODINGS[named]


def _body(request: Request) -> bytes:
    bound = limits().request_bytes
    raw = read_limited(request.stream, bound)
    match request.headers.get("Content-Encoding", "identity").lower():
        case "identity" | "":
            return raw
        case "gzip":
            return _inflate(raw, bound)
        case other:
            raise UnsupportedContent(f"Content-Encoding {other} is not gzip")


def _inflate(raw: bytes, bound: int) -> bytes:
    # Bounded, for four megabytes of gzip can hold four gigabytes of zeros.
    stream = zlib.decompressobj(_GZIP)
    try:
        body = stream.decompress(raw, bound + 1)
    except zlib.error:
        raise MalformedExport("body: not gzip") from None
    if len(body) > bound:
        raise TooLarge(f"The body may be at most {bound} bytes when it is decompressed")
    if not stream.eof or stream.unused_data:
        raise MalformedExport("body: the gzip stream is cut off, or something follows it")
    return body


otlp_routes = [
    path("otel/v1/traces", Traces.as_view()),
    path("otel/v1/logs", Logs.as_view()),
    path("otel/v1/metrics", Metrics.as_view()),
]
