"""Triggering: options as the wire wants them, off-loading of large payloads, batches."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, cast
from urllib.parse import quote, urljoin

from holdfast import packets
from holdfast._http import Call, Flow, Settings, fetch, send
from holdfast._wire import Pause, Response
from holdfast.api_errors import BatchNotSealedError
from holdfast.client.results import BatchHandle, Progress, RunHandle, build, read
from holdfast.flow import Overlap

SEAL_ATTEMPTS = 5
PORTION_ITEMS = 1_000
"""How many items of a batch travel in one request, at most."""
PORTION_BYTES = 1024 * 1024
"""How many bytes of items one request gathers before it is sent; a single item may have more."""

Duration = str | int | timedelta
"""``"10m"``, a number of seconds, or a timedelta."""


class _DebounceKey(TypedDict):
    key: str
    delay: Duration


class Debounce(_DebounceKey, total=False):
    """Triggers of one task and `key` push one run on until none came for `delay`.

    Attributes:
        key: At most 512 characters.
        delay: How long none must come, at least a second.
        mode: Whose payload counts: ``leading``, the first one's, or ``trailing``, the last one's.
        max_delay: How long the run may be pushed on at most; an hour by default.
    """

    mode: Literal["leading", "trailing"]
    max_delay: Duration


class RunOptions(TypedDict, total=False):
    """How a run is executed, whatever starts it; every key is optional.

    Attributes:
        queue: Another queue than the task's own.
        concurrency_key: A lane of the queue of its own.
        ttl: Expire when not started by then.
        tags: Up to ten.
        metadata: A JSON object that the run may change.
        machine: A preset, such as ``small-2x``.
        max_attempts: Instead of the task's own.
        max_duration: Seconds of execution time.
        priority: Seconds of head start in the queue.
    """

    queue: str
    concurrency_key: str
    ttl: Duration
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    machine: str
    max_attempts: int
    max_duration: float
    priority: float


class TriggerOptions(RunOptions, total=False):
    """What a trigger may say besides the payload: all of `RunOptions`, and this.

    Attributes:
        idempotency_key: The same key twice starts one run. It is hashed, and shown as given;
            with `idempotency_key_options` it is a hash already.
        idempotency_key_ttl: How long the key is remembered.
        idempotency_key_options: The key as the user wrote it and its scope, for a hashed key.
        delay: Start later: a duration from now, or a moment.
        version: Run exactly this version, such as ``20261124.1``.
        test: Mark the run as a test.
        debounce: Push one run on instead of starting more: see `Debounce`.
        overlap: ``allow``, ``skip``, ``queue`` or ``cancel``, instead of the task's own.
        parent_run_id: The run that triggers this one.
        resume_parent: Whether the parent waits for the end.
        traceparent: The W3C trace context to go on with.
        request_key: Identifies this logical call, when the caller itself may repeat it.
    """

    idempotency_key: str
    idempotency_key_ttl: Duration
    idempotency_key_options: Mapping[str, Any]
    delay: Duration | datetime
    version: str
    test: bool
    debounce: Debounce
    overlap: Overlap
    parent_run_id: str
    resume_parent: bool
    traceparent: str
    request_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One run of a batch."""

    task: str
    payload: Any = None
    options: TriggerOptions = field(default_factory=TriggerOptions)


def trigger(
    settings: Settings, task: str, payload: Any, options: TriggerOptions
) -> Flow[RunHandle]:
    """Start one run."""
    body = yield from _body(settings, payload, options)
    return (
        yield from send(
            settings,
            Call(
                method="POST",
                path=f"/api/v1/tasks/{quote(task, safe='')}/trigger",
                parse=_handle,
                body=body,
                headers=_headers(options),
            ),
        )
    )


def batch_trigger(
    settings: Settings, items: Collection[BatchItem], options: TriggerOptions
) -> Flow[BatchHandle]:
    """Start many runs: announce the batch, then send its items portion by portion.

    The items are encoded as they are sent, so that no more than one portion is in memory; a
    collection that makes them while it is iterated never holds all of them.
    """
    created = yield from send(
        settings,
        Call(
            method="POST",
            path="/api/v3/batches",
            parse=_batch_handle,
            body=_announcement(items, options),
            headers=_headers(options),
        ),
    )
    if not created.is_cached or not created.sealed:  # whoever made it may not have filled it
        yield from _fill(settings, created.id, items)
    return created


def replay_body(payload: Any, options: TriggerOptions) -> dict[str, Any]:
    """What a replay changes: the same words as a trigger's options, beside the payload."""
    body = _wire_options(options)
    if "lockToVersion" in body:
        body["version"] = body.pop("lockToVersion")
    if payload is not None:
        body["payload"], body["payloadType"] = packets.encode(payload)
    return body


def run_options(options: RunOptions) -> dict[str, Any]:
    """How a run is executed, as it travels.

    Raises:
        TypeError: There is an option among them that only a trigger has.
    """
    if unknown := options.keys() - RunOptions.__annotations__.keys():
        raise TypeError(f"a schedule has no option {', '.join(sorted(unknown))}")
    return _wire_options(cast(TriggerOptions, options))


def idempotency_hash(key: str) -> str:
    """What travels for a key that is meant globally: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def duration_text(value: Duration) -> str:
    """A duration as the wire contract writes it."""
    if isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float):
        raise TypeError(f"a duration is seconds or text such as 10m, not {value!r}")
    if seconds < 0:
        raise ValueError(f"a duration must not be negative: {value!r}")
    return f"{round(seconds)}s"


def download(settings: Settings, path: str) -> Flow[Any]:
    """The value of a packet that was off-loaded to `path`."""
    location = yield from send(
        settings,
        Call(
            method="GET",
            path=f"/api/v1/packets/{quote(path, safe='')}",
            parse=lambda response: response.json(),
        ),
    )
    return (yield from download_presigned(settings, str(location["presignedUrl"])))


def download_presigned(settings: Settings, url: str) -> Flow[Any]:
    """The value behind a presigned address; its content type decides how it is decoded."""
    response: Response = yield from fetch(urljoin(settings.api_url, url), retry=settings.retry)
    kind = response.headers.get("content-type", "application/json").partition(";")[0].strip()
    return packets.decode(response.content.decode(), kind)


def _fill(settings: Settings, batch_id: str, items: Iterable[BatchItem]) -> Flow[None]:
    """Send all items, and all again until the batch is sealed: the server knows each by its index.

    A portion whose connection breaks is sent again by itself; those before it are not.
    """
    progress = Progress(id=batch_id, sealed=False)
    for attempt in range(1, SEAL_ATTEMPTS + 1):
        lines = _Lines()
        for index, item in enumerate(items):
            line = yield from _line(settings, index, item)
            if lines.is_full_with(line):
                progress = yield from _send_portion(settings, batch_id, lines.take())
            lines.add(line)
        if lines.count:
            progress = yield from _send_portion(settings, batch_id, lines.take())
        if progress.sealed:
            return
        if attempt < SEAL_ATTEMPTS:
            yield Pause(seconds=settings.retry.pause_after(attempt))
    raise BatchNotSealedError(
        f"Batch {batch_id} was not sealed in {SEAL_ATTEMPTS} attempts: the server has "
        f"{progress.enqueued_count} of {progress.expected_count} items."
    )


class _Lines:
    """The lines of a portion that gathers."""

    def __init__(self) -> None:
        self.count = 0
        self._text = bytearray()

    def is_full_with(self, line: bytes) -> bool:
        """Whether the portion has to go before this line can be added."""
        is_long = len(self._text) + len(line) > PORTION_BYTES
        return self.count > 0 and (is_long or self.count >= PORTION_ITEMS)

    def add(self, line: bytes) -> None:
        self.count += 1
        self._text += line

    def take(self) -> bytes:
        """The portion; the next one begins empty."""
        taken = bytes(self._text)
        self.count = 0
        self._text.clear()
        return taken


def _line(settings: Settings, index: int, item: BatchItem) -> Flow[bytes]:
    body = yield from _body(settings, item.payload, item.options)
    body["options"].pop("parentRunId", None)
    body["options"].pop("resumeParentOnCompletion", None)
    return json.dumps({"index": index, "task": item.task, **body}).encode() + b"\n"


def _send_portion(settings: Settings, batch_id: str, lines: bytes) -> Flow[Progress]:
    return send(
        settings,
        Call(
            method="POST",
            path=f"/api/v3/batches/{quote(batch_id, safe='')}/items",
            parse=read(Progress),
            content=lines,
            content_type="application/x-ndjson",
            has_request_key=False,
        ),
    )


def _announcement(items: Collection[BatchItem], options: TriggerOptions) -> dict[str, Any]:
    wire = _wire_options(options)
    kept = ("parentRunId", "resumeParentOnCompletion", "idempotencyKey", "idempotencyKeyOptions")
    return {
        "runCount": len(items),
        "taskIdentifiers": sorted({item.task for item in items}),
        **{name: wire[name] for name in kept if name in wire},
    }


def _body(settings: Settings, payload: Any, options: TriggerOptions) -> Flow[dict[str, Any]]:
    data, kind = packets.encode(payload)
    raw = (data or "").encode()
    wire = _wire_options(options)
    wire["payloadSize"] = len(raw)
    if len(raw) >= packets.OFFLOAD_BYTES:
        data = yield from _offload(settings, raw, kind)
        kind = packets.STORE
    wire["payloadType"] = kind
    return {"options": wire} if data is None else {"payload": data, "options": wire}


def _offload(settings: Settings, raw: bytes, kind: str) -> Flow[str]:
    """Put a large payload into object storage; returns where."""
    key = quote(f"trigger/packet_{uuid.uuid4().hex}/payload.json", safe="")
    place = yield from send(
        settings,
        Call(method="PUT", path=f"/api/v2/packets/{key}", parse=lambda response: response.json()),
    )
    yield from fetch(
        urljoin(settings.api_url, place["presignedUrl"]),
        method="PUT",
        headers={"content-type": kind},
        content=raw,
        retry=settings.retry,
    )
    return str(place["storagePath"])


_RENAMED: dict[str, str] = {
    "concurrency_key": "concurrencyKey",
    "idempotency_key_options": "idempotencyKeyOptions",
    "metadata": "metadata",
    "machine": "machine",
    "max_attempts": "maxAttempts",
    "max_duration": "maxDuration",
    "priority": "priority",
    "version": "lockToVersion",
    "test": "test",
    "overlap": "overlap",
    "parent_run_id": "parentRunId",
    "resume_parent": "resumeParentOnCompletion",
}
_DURATIONS: dict[str, str] = {
    "idempotency_key_ttl": "idempotencyKeyTTL",
    "ttl": "ttl",
}
_DEBOUNCE = Debounce.__required_keys__ | Debounce.__optional_keys__
OPTIONS_BY_WIRE_NAME: dict[str, str] = {
    **{wire: name for name, wire in (_RENAMED | _DURATIONS).items()},
    "idempotencyKey": "idempotency_key",
}
"""What an option of the API is called here."""


def check_options(options: TriggerOptions) -> None:
    """Refuse what could not be sent.

    Raises:
        TypeError: A value is of a kind that its option does not have.
        ValueError: A duration is negative.
    """
    _wire_options(options)


def _wire_options(options: TriggerOptions) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    wire = {_RENAMED[name]: value for name, value in given.items() if name in _RENAMED}
    for name, wire_name in _DURATIONS.items():
        if name in given:
            wire[wire_name] = duration_text(given[name])
    if "queue" in given:
        wire["queue"] = {"name": given["queue"]}
    if "delay" in given:
        wire["delay"] = moment_text(given["delay"])
    if "debounce" in given:
        wire["debounce"] = _debounce(given["debounce"])
    if "tags" in given:
        wire["tags"] = _tags(given["tags"])
    if "idempotency_key" in given:
        wire.update(_idempotency(given["idempotency_key"], given.get("idempotency_key_options")))
    return wire


def _tags(tags: str | Iterable[str]) -> list[str]:
    if isinstance(tags, str):
        return [tags]
    if not isinstance(tags, Iterable):
        raise TypeError(f"tags are texts, not {tags!r}")
    return list(tags)


def _debounce(debounce: Debounce) -> dict[str, Any]:
    if not isinstance(debounce, Mapping):
        raise TypeError(f"debounce is a key and a delay, not {debounce!r}")
    if unknown := debounce.keys() - _DEBOUNCE:
        raise TypeError(f"debounce has no {', '.join(sorted(unknown))}")
    if missing := Debounce.__required_keys__ - debounce.keys():
        raise TypeError(f"debounce needs a {' and a '.join(sorted(missing, reverse=True))}")
    wire = {"key": debounce["key"], "delay": duration_text(debounce["delay"])}
    if "mode" in debounce:
        wire["mode"] = debounce["mode"]
    if "max_delay" in debounce:
        wire["maxDelay"] = duration_text(debounce["max_delay"])
    return wire


def _idempotency(key: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    if not isinstance(key, str):
        raise TypeError(f"an idempotency key is text, not {key!r}")
    if options is not None:
        return {"idempotencyKey": key, "idempotencyKeyOptions": dict(options)}
    return {
        "idempotencyKey": idempotency_hash(key),
        "idempotencyKeyOptions": {"key": key, "scope": "global"},
    }


def moment_text(delay: Duration | datetime) -> str:
    if isinstance(delay, datetime):
        return (delay if delay.tzinfo else delay.astimezone()).isoformat()
    return duration_text(delay)


def _headers(options: TriggerOptions) -> dict[str, str]:
    headers = {}
    if options.get("traceparent"):
        headers["traceparent"] = options["traceparent"]
    if options.get("request_key"):
        headers["x-trigger-request-idempotency-key"] = options["request_key"]
    return headers


def _with_public_token(response: Response) -> Any:
    body = response.json()
    token = response.headers.get("x-trigger-jwt")
    return {**body, "publicToken": token} if token and isinstance(body, dict) else body


def _handle(response: Response) -> RunHandle:
    return build(RunHandle, _with_public_token(response))


def _batch_handle(response: Response) -> BatchHandle:
    return build(BatchHandle, _with_public_token(response))
