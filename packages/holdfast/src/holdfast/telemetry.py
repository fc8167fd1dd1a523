"""Sends what runs log and measure to the server, as OTLP over HTTP in JSON.

The rule it keeps: telemetry never slows a run down and never holds memory without bound. Records
wait in a bounded queue that sheds the oldest, and leave in batches while the server takes them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from holdfast.manifest import sdk_version

_log = logging.getLogger("holdfast.telemetry")

INTERVAL_SECONDS = 1.0
MAX_QUEUED = 20_000
MAX_BATCH = 512

_TIMEOUT_SECONDS = 10.0
_LONGEST_PAUSE = 30.0
_SEVERITY = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17}
_SPAN_KIND_INTERNAL = 1
_STATUS_OK, _STATUS_ERROR = 1, 2
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Record = dict[str, Any]


class Exporter:
    """The queue, and the loop that empties it.

    Args:
        api_url: The server's address.
        secret_key: The environment's secret key.
        resource: Attributes of everything that this worker sends.
    """

    def __init__(self, *, api_url: str, secret_key: str, resource: dict[str, Any]) -> None:
        self.dropped = 0
        self._url = api_url.rstrip("/")
        self._headers = {
            "authorization": f"Bearer {secret_key}",
            "content-type": "application/json",
        }
        self._resource = {"attributes": attributes(resource)}
        self._queues: dict[str, deque[Span | LogLine]] = {"traces": deque(), "logs": deque()}
        self._wake = asyncio.Event()
        self._client: httpx.AsyncClient | None = None

    def add(self, record: Span | LogLine) -> None:
        """Take a record; the oldest is shed when there are too many."""
        kind = "traces" if isinstance(record, Span) else "logs"
        queue = self._queues[kind]
        queue.append(record)
        if len(queue) > MAX_QUEUED:
            queue.popleft()
            self.dropped += 1

    async def run(self) -> None:
        """Send batches until cancelled."""
        pause = INTERVAL_SECONDS
        while True:
            await asyncio.sleep(pause)
            is_sent = await self.flush()
            pause = INTERVAL_SECONDS if is_sent else min(_LONGEST_PAUSE, pause * 2)

    async def flush(self) -> bool:
        """Send what is queued; False when the server does not take it now."""
        for kind, queue in self._queues.items():
            while queue:
                batch = [queue.popleft() for _ in range(min(MAX_BATCH, len(queue)))]
                if not await self._send(kind, batch):
                    self._put_back(queue, batch)
                    return False
        return True

    async def close(self) -> None:
        """Send what is queued, once, and close."""
        await self.flush()
        if self._client is not None:
            await self._client.aclose()

    async def disconnect(self) -> None:
        """Close what is open; the next batch opens it again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _put_back(self, queue: deque[Span | LogLine], batch: list[Span | LogLine]) -> None:
        room = MAX_QUEUED - len(queue)
        kept = batch[-room:] if room > 0 else []
        self.dropped += len(batch) - len(kept)
        queue.extendleft(reversed(kept))

    async def _send(self, kind: str, batch: list[Span | LogLine]) -> bool:
        """Whether the batch is dealt with; one that the server refuses is dropped."""
        body = json.dumps(self._export(kind, batch), separators=(",", ":"))
        try:
            response = await self._http().post(f"{self._url}/otel/v1/{kind}", content=body)
        except (httpx.HTTPError, OSError):
            return False
        if response.status_code == 429 or response.status_code >= 500:
            return False
        if response.is_error:
            self.dropped += len(batch)
            _log.warning("the server refuses telemetry: %s", response.status_code)
        return True

    def _export(self, kind: str, batch: list[Span | LogLine]) -> Record:
        scope = {"name": "holdfast", "version": sdk_version()}
        records = [record.to_wire() for record in batch]
        if kind == "traces":
            scoped = {"scopeSpans": [{"scope": scope, "spans": records}]}
            return {"resourceSpans": [{"resource": self._resource, **scoped}]}
        scoped = {"scopeLogs": [{"scope": scope, "logRecords": records}]}
        return {"resourceLogs": [{"resource": self._resource, **scoped}]}

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            is_here = urlsplit(self._url).hostname in _LOOPBACK
            self._client = httpx.AsyncClient(
                timeout=_TIMEOUT_SECONDS, headers=self._headers, trust_env=not is_here
            )
        return self._client


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that was measured.

    Attributes:
        name: What.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: The span around it.
        start: Unix time in nanoseconds.
        end: Unix time in nanoseconds.
        error: Why it failed, if it did.
        values: Its attributes.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start: int
    end: int
    error: str | None
    values: dict[str, Any]

    def to_wire(self) -> Record:
        """The form of OTLP."""
        failed = {"code": _STATUS_ERROR, "message": self.error}
        record: Record = {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "name": self.name,
            "kind": _SPAN_KIND_INTERNAL,
            "startTimeUnixNano": str(self.start),
            "endTimeUnixNano": str(self.end),
            "attributes": attributes(self.values),
            "status": {"code": _STATUS_OK} if self.error is None else failed,
        }
        return record | ({"parentSpanId": self.parent_id} if self.parent_id else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a log.

    Attributes:
        at: Unix time in nanoseconds.
        level: DEBUG, INFO, WARN or ERROR.
        message: The text.
        trace_id: The trace that it was written in.
        span_id: The span that it was written in.
        values: Its attributes.
    """

    at: int
    level: str
    message: str
    trace_id: str
    span_id: str
    values: dict[str, Any]

    def to_wire(self) -> Record:
        """The form of OTLP."""
        return {
            "timeUnixNano": str(self.at),
            "observedTimeUnixNano": str(self.at),
            "severityNumber": _SEVERITY.get(self.level, 9),
            "severityText": self.level,
            "body": {"stringValue": self.message},
            "attributes": attributes(self.values),
            "traceId": self.trace_id,
            "spanId": self.span_id,
        }


def attributes(values: dict[str, Any]) -> list[Record]:
    """Attributes as OTLP writes them; what is None is left out."""
    return list(_attributes(values))


def _attributes(values: dict[str, Any]) -> Iterable[Record]:
    for name, value in values.items():
        if isinstance(value, bool):
            yield {"key": name, "value": {"boolValue": value}}
        elif isinstance(value, int):
            yield {"key": name, "value": {"intValue": str(value)}}
        elif isinstance(value, float):
            yield {"key": name, "value": {"doubleValue": value}}
        elif value is not None:
            yield {"key": name, "value": {"stringValue": str(value)}}
