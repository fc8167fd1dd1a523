"""What a task may raise, what it may meet, and how exceptions look on the wire."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

_OWN_FOLDER = str(Path(__file__).parent)
_MAX_MESSAGE = 16_384
_MAX_TRACE = 65_536


class HoldfastError(Exception):
    """The base of every exception that this package raises on purpose."""


class Abort(HoldfastError):
    """Raise it in a task to fail the run now, whatever the retry policy says."""


class OutOfMemory(HoldfastError):
    """Raise it in a task that knows it ran out of memory; it ends as an out-of-memory kill does."""


class PayloadInvalid(Abort):
    """The payload does not fit the task's annotation; never retried.

    Attributes:
        errors: One ``{"path": "items.0.price", "message": "…", "type": "…"}`` per problem.
    """

    def __init__(self, task_id: str, errors: list[dict[str, Any]]) -> None:
        self.errors = errors
        listed = "; ".join(f"{error['path'] or 'payload'}: {error['message']}" for error in errors)
        super().__init__(f"The payload of {task_id!r} is invalid: {listed}")


class OutputInvalid(Abort):
    """The returned value has no form on the wire; never retried, as it would fail again."""


class ChildRunFailed(HoldfastError):
    """A child run that this run waited for did not complete.

    Attributes:
        run_id: The child's id.
        task_id: The child's task.
        error: The child's error in the wire contract's form (``type``, ``name``, ``message``, …).
    """

    def __init__(self, *, run_id: str | None, task_id: str, error: dict[str, Any] | None) -> None:
        self.run_id = run_id
        self.task_id = task_id
        self.error = error or {"type": "INTERNAL_ERROR", "code": "UNSPECIFIED_ERROR"}
        super().__init__(f"{task_id} ({run_id}): {describe(self.error)}")


class TokenTimedOut(HoldfastError, TimeoutError):
    """A token that this run waited for was not completed in time.

    Attributes:
        token: The token's id.
        error: What the server says, with a ``code`` and a ``message``.
    """

    def __init__(self, token: str, error: dict[str, Any] | None = None) -> None:
        self.token = token
        self.error = error or {"code": "TRIGGER_WAITPOINT_TIMEOUT"}
        super().__init__(f"{token}: {describe(self.error)}")


class TokenInvalid(Abort):
    """What a token was completed with does not fit the type that was asked for; never retried.

    Attributes:
        token: The token's id.
        errors: One ``{"path": "approved", "message": "…", "type": "…"}`` per problem.
    """

    def __init__(self, token: str, errors: list[dict[str, Any]]) -> None:
        self.token = token
        self.errors = errors
        listed = "; ".join(f"{error['path'] or 'value'}: {error['message']}" for error in errors)
        super().__init__(f"The value of {token} is invalid: {listed}")


class InputTimedOut(HoldfastError, TimeoutError):
    """Nothing was sent to an input of this run in time.

    Attributes:
        key: The input's name.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"nothing was sent to the input {key!r} in time")


class InputInvalid(Abort):
    """What was sent to an input does not fit the type that was asked for; never retried.

    The item counts as taken: who catches this may wait for the next.

    Attributes:
        key: The input's name.
        errors: One ``{"path": "approved", "message": "…", "type": "…"}`` per problem.
    """

    def __init__(self, key: str, errors: list[dict[str, Any]]) -> None:
        self.key = key
        self.errors = errors
        listed = "; ".join(f"{error['path'] or 'value'}: {error['message']}" for error in errors)
        super().__init__(f"What was sent to the input {key!r} is invalid: {listed}")


class BatchAbandoned(HoldfastError):
    """A batch that this run waited for was never filled, and the server has given it up.

    Attributes:
        batch_id: The batch's id; the runs that it has go on.
    """

    def __init__(self, *, batch_id: str, reason: str) -> None:
        super().__init__(f"batch {batch_id} was given up: {reason}")
        self.batch_id = batch_id


class DuplicateTask(HoldfastError):
    """Two tasks of one project have the same id."""


class NotInRun(HoldfastError):
    """Something that only exists inside a run was used outside of one."""


class RunCanceled(HoldfastError):
    """Raised in a plain function that waits for a child when its own run is canceled."""


class NonDeterminismError(Abort):
    """The code of a durable run does not do what its journal says it did; never retried.

    Attributes:
        position: The place of the call in the code.
        recorded: What the journal has there, such as ``step charge``; None: nothing.
        found: What the code does there; None: nothing, it has ended.
    """

    def __init__(self, position: str, *, recorded: str | None, found: str | None) -> None:
        self.position = position
        self.recorded = recorded
        self.found = found
        super().__init__(
            f"The code does not do at position {position} what it did when the journal was written."
            f"\n  the journal: {recorded or 'nothing'}\n  the code:    {found or 'nothing'}\n"
            "Keep the order of what is recorded, or branch with `patched(…)`."
        )


class StepFailed(HoldfastError):
    """A step failed with an exception whose class this process cannot make again.

    Attributes:
        name: The step's name.
        error: The exception in the wire contract's form.
    """

    def __init__(self, name: str, error: dict[str, Any]) -> None:
        self.name = name
        self.error = error
        super().__init__(f"{name}: {describe(error)}")


class StepTimedOut(HoldfastError, TimeoutError):
    """A step took longer than its `timeout`."""


class Evicted(BaseException):
    """Raised where a durable run waits when its process lets it go; it goes on elsewhere.

    It is no `Exception`: do not catch it. `finally` blocks run, so connections are closed, but
    whatever they ask of Holdfast raises it once more.
    """


def describe(error: dict[str, Any]) -> str:
    """One line for people about an error in the wire contract's form."""
    message = error.get("message") or error.get("raw") or error.get("code") or "unknown error"
    name = error.get("name")
    return f"{name}: {message}" if name else str(message)


def builtin_error(error: BaseException) -> dict[str, Any]:
    """An exception in the wire contract's form, with the frames of this package left out."""
    wire: dict[str, Any] = {
        "type": "BUILT_IN_ERROR",
        "name": type(error).__name__,
        "message": _text(error)[:_MAX_MESSAGE],
        "stackTrace": _trace(error),
    }
    cause = error.__cause__
    if cause is not None:
        wire["causes"] = [{"name": type(cause).__name__, "message": _text(cause)[:_MAX_MESSAGE]}]
    return wire


def internal_error(code: str, message: str, *, stack_trace: str | None = None) -> dict[str, Any]:
    """An error of the platform in the wire contract's form; `code` is one of its closed set."""
    wire: dict[str, Any] = {"type": "INTERNAL_ERROR", "code": code, "message": message}
    return wire | {"stackTrace": stack_trace} if stack_trace else wire


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<the exception has no readable text>"


def _trace(error: BaseException) -> str:
    try:
        lines = traceback.TracebackException.from_exception(error, compact=True)
        _drop_own_frames(lines)
        return "".join(lines.format())[-_MAX_TRACE:]
    except Exception:
        return f"{type(error).__name__}: {_text(error)}"


def _drop_own_frames(lines: traceback.TracebackException) -> None:
    lines.stack[:] = [f for f in lines.stack if not f.filename.startswith(_OWN_FOLDER)]
    for linked in (lines.__cause__, lines.__context__):
        if linked is not None:
            _drop_own_frames(linked)
