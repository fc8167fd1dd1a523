"""How a run ends when its process does not say so: exits, signals, limits, and what they mean."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from holdfast.errors import internal_error
from holdfast.protocol import Outcome
from holdfast.retry import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended, decided outside of its process.

    Attributes:
        outcome: As the protocol says it.
        error: In the wire contract's form.
        may_retry: Whether the retry policy is asked.
    """

    outcome: Outcome
    error: dict[str, Any]
    may_retry: bool = False


def over_memory(used: int, limit: int, machine: str) -> Verdict:
    """The run and its children held more memory than the machine has."""
    message = (
        f"The run used {_mib(used)} of memory, more than the {_mib(limit)} of machine "
        f"{machine!r}, and was killed. Use a larger machine or less memory."
    )
    error = internal_error("TASK_PROCESS_OOM_KILLED", message)
    return Verdict(outcome="crashed", error=error, may_retry=True)


def too_many_processes(count: int, limit: int) -> Verdict:
    """The run has started too many processes."""
    message = f"The run had {count} processes, more than the {limit} allowed, and was killed."
    error = internal_error("TASK_RUN_CRASHED", message)
    return Verdict(outcome="crashed", error=error, may_retry=True)


def over_time(limit: float) -> Verdict:
    """The run used up its time and did not react to being told."""
    message = f"The run used up its max_duration of {limit:g} s, did not stop, and was killed"
    return Verdict(outcome="timed_out", error=internal_error("MAX_DURATION_EXCEEDED", message))


def canceled(reason: str, *, grace: float | None = None) -> Verdict:
    """The run was canceled: before it started, or it did not stop in the grace period."""
    message = "The run was canceled"
    if grace is not None:
        message += f", did not stop within {grace:g} s, and was killed"
    message += f": {reason}" if reason else ""
    return Verdict(outcome="canceled", error=internal_error("TASK_RUN_CANCELLED", message))


def worker_stopped() -> Verdict:
    """The worker was told to stop at once."""
    message = "The worker was stopped while the run was executing"
    error = internal_error("TASK_PROCESS_SIGTERM", message)
    return Verdict(outcome="crashed", error=error, may_retry=True)


def process_ended(status: int, *, memory_kills: int) -> Verdict:
    """The process ended on its own.

    Args:
        status: Its wait status.
        memory_kills: How many processes the kernel has killed for lack of memory meanwhile.
    """
    if os.WIFSIGNALED(status):
        code, message = _by_signal(os.WTERMSIG(status), memory_kills)
    else:
        code = "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
        message = (
            f"The task's process exited with status {os.waitstatus_to_exitcode(status)} "
            "before the task returned"
        )
    return Verdict(outcome="crashed", error=internal_error(code, message), may_retry=True)


def retry_delay_ms(
    verdict: Verdict, *, policy: dict[str, Any], attempt: int, max_attempts: int
) -> int | None:
    """Milliseconds until the next attempt by the task's policy; None when there is none."""
    if not verdict.may_retry or attempt >= max_attempts:
        return None
    retry = Retry(
        attempts=max(1, max_attempts),
        factor=policy.get("factor", 2.0),
        min_delay=policy.get("minTimeoutInMs", 1000) / 1000,
        max_delay=policy.get("maxTimeoutInMs", 60_000) / 1000,
        jitter=policy.get("randomize", True),
    )
    return round(retry.delay_after(attempt) * 1000)


def _by_signal(number: int, memory_kills: int) -> tuple[str, str]:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGKILL and memory_kills:
        return "TASK_PROCESS_OOM_KILLED", "The kernel killed the task's process for lack of memory"
    if number == signal.SIGKILL:
        return (
            "TASK_PROCESS_MAYBE_OOM_KILLED",
            "The task's process was killed by SIGKILL from outside, maybe for lack of memory",
        )
    if number == signal.SIGSEGV:
        return (
            "TASK_PROCESS_SIGSEGV",
            "The task's process crashed with a segmentation fault (SIGSEGV), in native code",
        )
    return "TASK_RUN_CRASHED", f"The task's process was ended by {name}"


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"
