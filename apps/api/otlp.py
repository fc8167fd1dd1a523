"""OTLP/HTTP intake: workers and any OpenTelemetry exporter deliver here with an environment key.

Requests are JSON or protobuf, gzip or plain, and are answered in kind: refusals too are the
`Status` message that the OTLP specification asks for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
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
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.endpoint import Endpoint
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


@extend_schema(exclude=True)
class _Intake(Endpoint):
    take: ClassVar[Callable[..., Taken]]

    def post(self, request: Request) -> HttpResponse:
        taken = type(self).take(
            self.scope, body=_body(request), encoding=_encoding(request), now=self.now
        )
        return _answer(request, self.success(taken), 200)

    def success(self, taken: Taken) -> Message:
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Response:
        refusal = super().handle_exception(exc)
        status = Status(
            code=_CODES.get(refusal.status_code, _UNKNOWN), message=str(refusal.data["error"])
        )
        answer = _answer(self.request, status, refusal.status_code)
        for name, value in refusal.items():
            if name.lower() != "content-type":
                answer[name] = value
        return answer


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


def _encoding(request: Request) -> Encoding:
    named = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if named not in _ENCODINGS:
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


def _answer(request: Any, message: Message, status: int) -> HttpResponse:
    named = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    encoding = _ENCODINGS.get(named, Encoding.JSON)
    content = (
        message.SerializeToString()
        if encoding is Encoding.PROTOBUF
        else MessageToJson(message, indent=None).encode()
    )
    return HttpResponse(content, status=status, content_type=_CONTENT_TYPES[encoding])


otlp_routes = [
    path("otel/v1/traces", Traces.as_view()),
    path("otel/v1/logs", Logs.as_view()),
    path("otel/v1/metrics", Metrics.as_view()),
]
