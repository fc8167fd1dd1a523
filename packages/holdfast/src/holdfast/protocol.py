"""The worker protocol: every message a worker and a coordinator may exchange, version 1.

One WebSocket frame carries a list of messages; each message is a map whose ``type`` names one of
the classes below. Frames are JSON text, or msgpack binary when both sides agreed on the
``holdfast.v1.msgpack`` subprotocol. Unknown keys are ignored, so that fields can be added.

The rule it keeps: every message about a run names the lease ``generation`` it speaks for; the
server answers a stale one with ``Stale`` and changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pydantic

try:
    import msgpack
except ImportError:  # the worker's extra; without it frames are JSON
    msgpack = None

PROTOCOL_VERSION = 1
SUBPROTOCOL_JSON = "holdfast.v1.json"
SUBPROTOCOL_MSGPACK = "holdfast.v1.msgpack"

Packet = str | None
"""A value as it travels: the encoded text, or None when there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message has in common: a wire name."""

    type: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A run that a worker holds, and the generation it holds it under."""

    run: str
    generation: int


# -- worker to coordinator ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """The first message of every connection; `holding` keeps leases over a reconnection.

    A worker that was frozen and goes on, perhaps elsewhere, comes with a fresh session and names
    the `checkpoint`: what it holds becomes the new session's, under new generations.
    """

    type: ClassVar[str] = "hello"
    protocol: int
    session: str
    sdk: str
    version: str
    capacity: int
    pool: str = ""
    machine: str = ""
    instance: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    holding: list[Held] = field(default_factory=list)
    can_freeze: bool = False
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity(Message):
    """How many runs may execute here at once from now on; 0 while draining."""

    type: ClassVar[str] = "capacity"
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Message):
    """The attempt's code is about to run: the run counts as delivered."""

    type: ClassVar[str] = "started"
    run: str
    generation: int
    attempt: int
    warm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat(Message):
    """All runs the worker still holds, once per `Welcome.beat_seconds`."""

    type: ClassVar[str] = "beat"
    holding: list[Held]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that the journal of a durable run keeps: a step, a wait, a moment, and its result.

    `seq` counts what the code was given, in the order in which it was given it, from 1. `position`
    is the place of the call in the code, such as ``3``, or ``3.1`` in a coroutine started beside
    the function. `after` is the `seq` of the latest result that the code knew when it made the
    call. `digest` is that of the arguments, where they can be encoded. Times are in milliseconds.
    """

    seq: int
    position: str
    kind: str
    name: str
    after: int = 0
    digest: str | None = None
    ok: bool = True
    output: Packet = None
    output_type: str = "application/json"
    error: dict[str, Any] | None = None
    attempts: int = 1
    started_ms: int = 0
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A waitpoint that its run makes itself, with an id of its own choice: a time.

    `due_ms` is the moment in milliseconds since 1970. The first that names the id sets it.
    """

    id: str
    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A waitpoint that its run makes itself, with an id of its own choice: an item of an input.

    `seq` counts the items that were sent to the run under this `key`, from 0. `due_ms` is the
    moment at which it is given up, in milliseconds since 1970; None is never. The first that names
    the id sets all of them.
    """

    id: str
    key: str
    seq: int
    due_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended(Message):
    """The run is blocked on waitpoints; it is resumed when any, or all, of them complete.

    `waitpoints` names all; those in `times` and `inputs` exist from this message on. With
    `release` the worker lets go of a durable run: its journal is all that is kept, `executed_ms` is
    what this worker has executed of the attempt, and any worker gets it with Execute when it is
    woken. With `left` its process has left it already; without, one that was woken in the meantime
    stays and is resumed.
    """

    type: ClassVar[str] = "suspended"
    run: str
    generation: int
    waitpoints: list[str]
    times: list[Timed] = field(default_factory=list)
    inputs: list[Expected] = field(default_factory=list)
    need: Literal["any", "all"] = "any"
    executed_ms: int = 0
    release: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps(Message):
    """More of a durable run's journal, in order; answered with Recorded after the commit."""

    type: ClassVar[str] = "steps"
    run: str
    generation: int
    entries: list[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Message):
    """The attempt returned; `executed_ms` is execution time, waits excluded."""

    type: ClassVar[str] = "completed"
    run: str
    generation: int
    attempt: int
    output: Packet = None
    output_type: str = "application/json"
    executed_ms: int = 0


Outcome = Literal["failed", "crashed", "timed_out", "canceled", "system_failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Message):
    """The attempt did not return.

    `error` is a TaskRunError of the wire contract (``{"type": "BUILT_IN_ERROR", "name", "message",
    "stackTrace"}`` or ``{"type": "INTERNAL_ERROR", "code", "message"}``). `retry_delay_ms` is what
    the task's own retry policy decided; None means that it must not be retried. `rewind` names the
    entries of the journal that failed it: the next attempt does these again, and what was called
    after the first of them was known.
    """

    type: ClassVar[str] = "failed"
    run: str
    generation: int
    attempt: int
    outcome: Outcome
    error: dict[str, Any]
    retry_delay_ms: int | None = None
    executed_ms: int = 0
    rewind: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Message):
    """The worker cannot start this run now; it goes back to its queue with the reason.

    `is_fault` says that something is wrong with the run or the worker, and counts towards the
    deliveries after which a run is given up; a run that was only taken ahead is returned without.
    """

    type: ClassVar[str] = "rejected"
    run: str
    generation: int
    reason: str
    is_fault: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChanged(Message):
    """Operations on a run's metadata, in order (the shapes of the wire contract's PUT metadata)."""

    type: ClassVar[str] = "metadata"
    run: str
    generation: int
    operations: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Message):
    """The answer to Prepare: all runs wait, and nothing but this socket is open to the outside."""

    type: ClassVar[str] = "prepared"
    checkpoint: str
    holding: list[Held] = field(default_factory=list)


# -- coordinator to worker ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Message):
    """The answer to Hello; runs in `lost` are no longer this worker's and must be stopped.

    `adopted` are the runs that a thawed worker keeps, under their new generations.
    """

    type: ClassVar[str] = "welcome"
    server: str
    beat_seconds: float
    lease_seconds: float
    environment: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    adopted: list[Held] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Message):
    """The connection is closed after this; `code` is stable, `message` is for people."""

    type: ClassVar[str] = "refused"
    code: Literal["protocol", "version", "unauthorized", "invalid"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitpointResult:
    """How a waitpoint ended; for a child run `id` is the waitpoint and `run` the child.

    For an input `key`, `seq` and `due_ms` are those of `Expected`.
    """

    id: str
    ok: bool
    run: str | None = None
    output: Packet = None
    output_type: str = "application/json"
    error: dict[str, Any] | None = None
    key: str | None = None
    seq: int | None = None
    due_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute(Message):
    """Start this attempt now.

    `context` is the JSON form of ``ctx`` (see `holdfast.context`): run, attempt, task, queue,
    environment, organization, project, batch, version, machine.

    A durable run comes with the `journal` of what it has done, or with `journal_length` alone when
    that is too large for a message and is fetched from the API, and with the `results` of what it
    has waited for. `is_resumed` says that the attempt goes on, of which `attempt_executed_ms` have
    been executed.
    """

    type: ClassVar[str] = "execute"
    run: str
    generation: int
    attempt: int
    max_attempts: int
    task: str
    payload: Packet
    payload_type: str
    context: dict[str, Any]
    max_duration_seconds: int | None = None
    machine: str = "small-1x"
    executed_ms: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    traceparent: str | None = None
    is_resumed: bool = False
    attempt_executed_ms: int = 0
    journal: list[Entry] = field(default_factory=list)
    journal_length: int = 0
    results: list[WaitpointResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Message):
    """The answer to Steps, after its commit: everything up to `through` is kept."""

    type: ClassVar[str] = "recorded"
    run: str
    generation: int
    through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Message):
    """The suspended run has its slot again; these waitpoints have completed.

    `generation` is the new lease generation; messages under `previous` are stale from now on.
    """

    type: ClassVar[str] = "resume"
    run: str
    generation: int
    previous: int
    results: list[WaitpointResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Message):
    """The answer to Completed, Failed, Suspended and Rejected, after its commit.

    ``retry_here``: keep the process, start attempt `attempt` after `delay_ms` under the same
    generation. ``waiting`` answers Suspended: keep the process. ``released`` answers it too: only
    the rows are left, let the process go. Anything else: forget the run.
    """

    type: ClassVar[str] = "settled"
    run: str
    generation: int
    outcome: Literal["final", "retry_here", "requeued", "waiting", "released"]
    attempt: int | None = None
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale(Message):
    """This generation is no longer the run's: stop it, its result counts for nothing."""

    type: ClassVar[str] = "stale"
    run: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Message):
    """Cancel co-operatively; kill the process when `grace_seconds` have passed."""

    type: ClassVar[str] = "cancel"
    run: str
    generation: int
    grace_seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare(Message):
    """The provider wants to freeze this worker, all of whose runs wait.

    Close every connection to the outside but this one and answer Prepared; or do nothing, if a run
    does more than wait.
    """

    type: ClassVar[str] = "prepare"
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(Message):
    """The answer to Prepared: close this socket too and be silent until you were thawed.

    That is seen by the clock on the wall, which jumps. After `quiet_seconds` without that, the
    freezing has come to nothing. Either way, say hello with a fresh session and the checkpoint.
    """

    type: ClassVar[str] = "freeze"
    checkpoint: str
    quiet_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Message):
    """Finish what you hold and exit; nothing new will come."""

    type: ClassVar[str] = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Message):
    """A message could not be understood; the connection stays open."""

    type: ClassVar[str] = "malformed"
    detail: str


TO_COORDINATOR: tuple[type[Message], ...] = (
    Hello, Capacity, Started, Beat, Suspended, Steps, Completed, Failed, Rejected, MetadataChanged,
    Prepared,
)  # fmt: skip
TO_WORKER: tuple[type[Message], ...] = (
    Welcome, Refused, Execute, Resume, Recorded, Settled, Stale, Cancel, Prepare, Freeze, Drain,
    Malformed,
)  # fmt: skip


_NESTED = (Held, Timed, Expected, WaitpointResult, Entry)


class ProtocolError(Exception):
    """A frame or message that this side does not understand; the text says why."""


def encode(messages: Iterable[Message], *, binary: bool = False) -> str | bytes:
    """Pack messages into one frame: JSON text, or msgpack bytes when `binary`."""
    frame = [{"type": message.type, **_fields(message)} for message in messages]
    if binary:
        packed: bytes = msgpack.packb(frame)
        return packed
    return json.dumps(frame, separators=(",", ":"))


def decode(frame: str | bytes, known: Sequence[type[Message]]) -> list[Message]:
    """Unpack one frame into messages of the `known` classes; raises ProtocolError."""
    try:
        items = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
    except Exception as error:
        raise ProtocolError(f"a frame must be a JSON or msgpack list: {error}") from None
    if not isinstance(items, list):
        raise ProtocolError("a frame must be a list of messages")
    adapters = _adapters(tuple(known))
    return [_message(item, adapters) for item in items]


def _message(item: Any, adapters: dict[str, pydantic.TypeAdapter[Any]]) -> Message:
    name = item.get("type") if isinstance(item, dict) else None
    adapter = adapters.get(name) if isinstance(name, str) else None
    if adapter is None:
        raise ProtocolError(f"unknown message type {name!r}; known: {', '.join(sorted(adapters))}")
    try:
        message: Message = adapter.validate_python({k: v for k, v in item.items() if k != "type"})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProtocolError(f"{name}.{where}: {first['msg']}") from None
    return message


_ADAPTERS: dict[tuple[type[Message], ...], dict[str, pydantic.TypeAdapter[Any]]] = {}


def _adapters(known: tuple[type[Message], ...]) -> dict[str, pydantic.TypeAdapter[Any]]:
    if known not in _ADAPTERS:
        _ADAPTERS[known] = {cls.type: pydantic.TypeAdapter(cls) for cls in known}
    return _ADAPTERS[known]


def fields_of(part: Held | Timed | Expected | WaitpointResult | Entry) -> dict[str, Any]:
    """The fields of what messages contain, by name; what they hold is shared, not copied.

    `dataclasses.asdict` copies whatever it finds, and takes ten times as long.
    """
    return {name: getattr(part, name) for name in _names(type(part))}


def _fields(message: Message) -> dict[str, Any]:
    shallow = ((name, getattr(message, name)) for name in _names(type(message)))
    return {
        name: [fields_of(v) if isinstance(v, _NESTED) else v for v in value]
        if isinstance(value, list)
        else value
        for name, value in shallow
    }


_NAMES: dict[type[Any], tuple[str, ...]] = {}


def _names(kind: type[Any]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(each.name for each in dataclasses.fields(kind))
    return _NAMES[kind]
