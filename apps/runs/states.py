"""The states of a run and of what surrounds it, and which moves are allowed."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    PENDING_VERSION = "PENDING_VERSION"
    DELAYED = "DELAYED"
    QUEUED = "QUEUED"
    DEQUEUED = "DEQUEUED"
    EXECUTING = "EXECUTING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    CRASHED = "CRASHED"
    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    EXPIRED = "EXPIRED"
    TIMED_OUT = "TIMED_OUT"


class AttemptStatus(StrEnum):
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    CRASHED = "CRASHED"
    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    TIMED_OUT = "TIMED_OUT"


class TimerKind(StrEnum):
    DUE = "due"  # a delay or a retry: the run becomes ready
    TTL = "ttl"  # the run expires unless it has started
    CANCEL = "cancel"  # the run is ended unless its worker has stopped it


class WaitpointKind(StrEnum):
    RUN = "run"
    BATCH = "batch"
    TIME = "time"
    TOKEN = "token"  # noqa: S105 -- a kind, not a secret
    INPUT = "input"


class WaitpointStatus(StrEnum):
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    TIMED_OUT = "TIMED_OUT"


class BatchStatus(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    PARTIAL_FAILED = "PARTIAL_FAILED"
    ABORTED = "ABORTED"


class BulkKind(StrEnum):
    CANCEL = "cancel"
    REPLAY = "replay"


class BulkStatus(StrEnum):
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


class KeyKind(StrEnum):
    USER = "user"  # an idempotency key of the customer
    BATCH = "batch"  # the same, of a batch
    REQUEST = "request"  # one logical call of a client, whose retries must not trigger again
    TOKEN = "token"  # noqa: S105 -- a one-time public token that has been used
    WAITPOINT = "waitpoint"  # an idempotency key of the customer, of a token to wait for
    DEBOUNCE = "debounce"  # of the run that triggers of a key push on
    OVERLAP = "overlap"  # of the latest run of a task that does not overlap
    COLLECT = "collect"  # of the run that collects payloads


class Overlap(StrEnum):
    """What becomes of a trigger while a run of its task and concurrency key is open."""

    ALLOW = "allow"  # another run
    SKIP = "skip"  # that run answers it
    QUEUE = "queue"  # one more waits for that one's end, and answers all others
    CANCEL = "cancel"  # that run is canceled


FINAL = frozenset(
    {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELED,
        RunStatus.CRASHED,
        RunStatus.SYSTEM_FAILURE,
        RunStatus.EXPIRED,
        RunStatus.TIMED_OUT,
    }
)

_BEFORE_START = frozenset({RunStatus.CANCELED, RunStatus.EXPIRED})
_ENDS = FINAL - {RunStatus.EXPIRED}

ALLOWED: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING_VERSION: _BEFORE_START | {RunStatus.QUEUED, RunStatus.DELAYED},
    RunStatus.DELAYED: _BEFORE_START | {RunStatus.QUEUED, RunStatus.PENDING_VERSION},
    # one that was woken has a process still, and may end or be lost as any that executes
    RunStatus.QUEUED: FINAL
    | {RunStatus.DEQUEUED, RunStatus.EXECUTING, RunStatus.DELAYED, RunStatus.PENDING_VERSION},
    RunStatus.DEQUEUED: _ENDS | {RunStatus.EXECUTING, RunStatus.QUEUED, RunStatus.DELAYED},
    RunStatus.EXECUTING: _ENDS | {RunStatus.WAITING, RunStatus.QUEUED, RunStatus.DELAYED},
    RunStatus.WAITING: _ENDS | {RunStatus.QUEUED, RunStatus.DELAYED},
    **{status: frozenset() for status in FINAL},
}
