"""One attempt of a run: decode, validate, run the task inside its hooks, and say how it ended.

Used by task processes and by `holdfast.testing` alike, so that both keep the same rules.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from holdfast import packets
from holdfast.context import current_run
from holdfast.errors import (
    OutOfMemory,
    OutputInvalid,
    PayloadInvalid,
    builtin_error,
    internal_error,
)
from holdfast.hooks import in_thread, run_hooks, run_hooks_safely, through_middleware
from holdfast.journal import Branch, branch
from holdfast.log import finish_lines
from holdfast.runtime import RunState
from holdfast.tasks import Task, registry

Ending = Literal["completed", "failed", "crashed", "timed_out", "canceled", "evicted"]
Stop = Literal["canceled", "timed_out"]

_EVICTION_SECONDS = 1.0

_STOPPED: dict[Stop, tuple[str, str]] = {
    "canceled": ("TASK_RUN_CANCELLED", "The run was canceled"),
    "timed_out": ("MAX_DURATION_EXCEEDED", "The run used up its max_duration"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended.

    Attributes:
        ending: In one word.
        output: The encoded result of a completed attempt.
        output_type: Its media type.
        error: The error in the wire contract's form, unless completed.
        retry_delay: Seconds until the next attempt; None when there must be none.
        executed: Seconds of execution, waits excluded.
        must_exit: Whether the process should not be used again.
        rewind: The entries of a durable run's journal that failed it.
    """

    ending: Ending
    output: str | None = None
    output_type: str = packets.JSON
    error: dict[str, Any] | None = None
    retry_delay: float | None = None
    executed: float = 0.0
    must_exit: bool = False
    rewind: tuple[int, ...] = ()


class Stopwatch:
    """Execution time by a clock: runs until it is paused."""

    __slots__ = ("_clock", "_since", "_total")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._total = 0.0
        self._since: float | None = clock()

    def pause(self) -> None:
        """Stop counting."""
        self._total, self._since = self.elapsed, None

    def resume(self) -> None:
        """Go on counting."""
        if self._since is None:
            self._since = self._clock()

    def reset(self) -> None:
        """Forget what was counted."""
        self._total = 0.0
        self._since = None if self._since is None else self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._total + (0.0 if self._since is None else self._clock() - self._since)


class Attempt:
    """One attempt.

    Args:
        state: All that belongs to it.
        payload: The encoded payload.
        payload_type: Its media type.
        max_attempts: How many attempts the run may have.
        max_duration: Seconds of execution; None means no limit.
        on_stop: Called when the attempt is told to stop, for waits to be broken off.
    """

    def __init__(
        self,
        *,
        state: RunState,
        payload: str | None,
        payload_type: str,
        max_attempts: int,
        max_duration: float | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = state
        self.watch = Stopwatch(state.loop.time)
        self._packet = (payload, payload_type)
        self._max_attempts = max_attempts
        self._max_duration = max_duration
        self._on_stop = on_stop
        self._retry = state.task.retry or registry.default_retry
        self._payload: Any = None
        self._task: asyncio.Task[Any] | None = None
        self._is_interruptible = False
        self._stop: Stop | None = None
        self._reason = ""
        self.is_evicted = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> AttemptResult:
        """Run it to its end; raises nothing but CancelledError, when its loop is shut down."""
        self._task = asyncio.current_task()
        token = current_run.set(self.state)
        self._arm()
        try:
            result = await self._run()
        except asyncio.CancelledError as error:  # told to stop between two steps
            result = await self._after(error)
        finally:
            self._disarm()
            finish_lines()
            current_run.reset(token)
        return result

    def stop(self, why: Stop, reason: str = "") -> None:
        """Ask it to end: an async function is cancelled, a plain one sees `ctx.canceled`."""
        if self._stop is not None:
            return
        self._stop, self._reason = why, reason
        self.state.context.canceled.set()
        self._on_stop()
        if self._is_interruptible and self._task is not None:
            self._task.cancel()

    def evict(self) -> None:
        """Let go of a durable run that waits: its code is left at what it waits for."""
        self.is_evicted = True
        if self.state.journal is not None:
            self.state.journal.close()
        self._on_stop()
        asyncio.get_running_loop().call_later(_EVICTION_SECONDS, self._insist)

    def _insist(self) -> None:
        """Break off what waits for something else meanwhile."""
        if self._is_interruptible and self._task is not None:
            self._task.cancel()

    def caught_up(self) -> None:
        """A durable run has been given all that was recorded: what comes now counts as executed."""
        self.watch.reset()
        self._disarm()
        self._arm()

    def suspended(self) -> None:
        """Stop the clock: the run waits."""
        self.watch.pause()
        self._disarm()

    def resumed(self) -> None:
        """Start the clock again."""
        self.watch.resume()
        self._arm()

    def _arm(self) -> None:
        if self._max_duration is not None and self._stop is None:
            used = self.state.executed_before + self.watch.elapsed
            left = max(0.0, self._max_duration - used)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(left, self.stop, "timed_out")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> AttemptResult:
        hooks = self.state.task.hooks
        try:
            output = await through_middleware(hooks, self._body)
            packet = self._encoded(output)
        except BaseException as error:
            return await self._after(error)
        if self._stop is not None or self.is_evicted:
            return await self._after(asyncio.CancelledError())
        await self._finish("on_success", output=output)
        return self._result("completed", output=packet.data, output_type=packet.data_type)

    async def _body(self) -> Any:
        task, journal = self.state.task, self.state.journal
        self._payload = self._decoded()
        if not self.state.is_resumed:
            await run_hooks(task.hooks, "on_start", payload=self._payload, ctx=self.state.context)
        elif journal is not None:
            await run_hooks_safely(task.hooks, "on_resume", ctx=self.state.context)
        if journal is None:
            return await self._call(task)
        token = branch.set(Branch())
        try:
            output = await self._call(task)
            journal.check_end()
            return output
        finally:
            branch.reset(token)

    async def _call(self, task: Task[Any, Any]) -> Any:
        arguments = (self._payload,) if task.signature.takes_payload else ()
        call = partial(task.function, *arguments)
        return await self._interruptibly(call) if task.is_async else await in_thread(call)

    async def _interruptibly(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._stop is not None:
            raise asyncio.CancelledError
        self._is_interruptible = True
        try:
            return await call()
        finally:
            self._is_interruptible = False

    def _decoded(self) -> Any:
        task = self.state.task
        try:
            value = packets.decode(*self._packet)
        except packets.PacketError as error:
            problem = {"path": "", "message": str(error), "type": "packet"}
            raise PayloadInvalid(task.id, [problem]) from None
        return task.signature.validate_payload(value, task_id=task.id)

    def _encoded(self, output: Any) -> packets.Packet:
        try:
            return packets.encode(output)
        except packets.PacketError as error:
            raise OutputInvalid(f"The result of {self.state.task.id!r}: {error}") from None

    async def _after(self, error: BaseException) -> AttemptResult:
        """How it ends after an exception."""
        if self.is_evicted:
            return self._result("evicted")
        if self._stop is not None:
            return await self._stopped(self._stop)
        if isinstance(error, asyncio.CancelledError) and self._is_abandoned():
            raise error
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return await self._failed(error, "crashed", _exit_error(error), must_exit=True)
        if isinstance(error, MemoryError | OutOfMemory):
            message = f"The task ran out of memory: {error}".removesuffix(": ")
            wire = internal_error("TASK_PROCESS_OOM_KILLED", message)
            return await self._failed(error, "crashed", wire, must_exit=True)
        return await self._failed(error, "failed", builtin_error(error))

    def _is_abandoned(self) -> bool:
        """Whether the whole event loop is being shut down around it."""
        return self._task is not None and self._task.cancelling() > 0

    async def _stopped(self, why: Stop) -> AttemptResult:
        self._disarm()
        while self._task is not None and self._task.cancelling():
            self._task.uncancel()
        if why == "canceled":
            await self._finish("on_cancel")
        code, message = _STOPPED[why]
        if why == "timed_out":
            message = f"{message} of {self._max_duration:g} s"
        return self._result(
            why, error=internal_error(code, f"{message}: {self._reason}".removesuffix(": "))
        )

    async def _failed(
        self, error: BaseException, ending: Ending, wire: dict[str, Any], *, must_exit: bool = False
    ) -> AttemptResult:
        number = self.state.context.attempt.number
        journal = self.state.journal
        rewind: tuple[int, ...] = ()
        if journal is not None:
            error, rewind = journal.broken or error, tuple(journal.rewind(error))
            wire = wire if journal.broken is None else builtin_error(error)
        delay, error, wire = self._decide(error, wire, number)
        if delay is None:
            await self._finish("on_failure", error=error)
        return self._result(
            ending, error=wire, retry_delay=delay, must_exit=must_exit, rewind=rewind
        )

    def _decide(
        self, error: BaseException, wire: dict[str, Any], number: int
    ) -> tuple[float | None, BaseException, dict[str, Any]]:
        """Ask the policy; a rule of the customer's that raises ends the run with its own error."""
        is_exception = isinstance(error, Exception)
        asked = error if is_exception else RuntimeError(str(error))
        try:
            delay = self._retry.decide(asked, attempt=number, max_attempts=self._max_attempts)
        except Exception as broken:
            return None, broken, builtin_error(broken)
        return delay, error, wire

    async def _finish(self, name: Any, **offered: Any) -> None:
        """The hooks of one ending, then those of every ending."""
        hooks, context = self.state.task.hooks, self.state.context
        for each in (name, "on_complete"):
            with contextlib.suppress(asyncio.CancelledError):
                await run_hooks_safely(hooks, each, payload=self._payload, ctx=context, **offered)

    def _result(self, ending: Ending, **fields: Any) -> AttemptResult:
        return AttemptResult(ending=ending, executed=self.watch.elapsed, **fields)


def _exit_error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt):
        return internal_error("TASK_RUN_CRASHED", "The task was interrupted by SIGINT")
    return internal_error(
        "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
        f"The task called sys.exit({error.code!r}) instead of returning",  # type: ignore[attr-defined]
        stack_trace=builtin_error(error)["stackTrace"],
    )
