"""When a failed attempt is tried again, and how long after."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import Abort

Rule = Callable[[BaseException, int], "bool | float | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry policy.

    The delay before attempt n + 1 is ``min_delay * factor ** (n - 1)``, at most `max_delay`; with
    `jitter` it is drawn between half of that and all of it, so that runs which failed together
    do not come back together.

    Attributes:
        attempts: How often the task is tried in all; 1 means never again.
        factor: Growth of the delay per attempt, at least 1.
        min_delay: Delay after the first failure, in seconds.
        max_delay: Longest delay, in seconds.
        jitter: Whether the delay is randomised.
        retry_on: Only these exceptions are retried.
        abort: These exceptions are never retried, even when `retry_on` names them.
        rule: Asked with the exception and the number of the failed attempt: False ends the run, a
            number is the delay in seconds, True or None leaves it to the rest of the policy.
    """

    attempts: int = 3
    factor: float = 2.0
    min_delay: float = 1.0
    max_delay: float = 60.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    abort: tuple[type[BaseException], ...] = ()
    rule: Rule | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("retry: attempts must be at least 1")
        if self.factor < 1:
            raise ValueError("retry: factor must be at least 1")
        if not 0 <= self.min_delay <= self.max_delay:
            raise ValueError("retry: the delays must satisfy 0 <= min_delay <= max_delay")

    @classmethod
    def of(cls, given: Retry | int | dict[str, Any] | None) -> Retry:
        """A policy from what `@task(retry=…)` accepts.

        Args:
            given: A policy, a number of attempts, a mapping of this class's fields, or None for
                the defaults.
        """
        if isinstance(given, Retry):
            return given
        if isinstance(given, int):
            return cls(attempts=given)
        return cls(**(given or {}))

    def delay_after(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1)."""
        try:
            full = min(self.max_delay, self.min_delay * self.factor ** (attempt - 1))
        except OverflowError:
            full = self.max_delay
        return full * random.uniform(0.5, 1.0) if self.jitter else full  # noqa: S311 - not a secret

    def decide(self, error: BaseException, *, attempt: int, max_attempts: int) -> float | None:
        """Whether to try again after an exception.

        Args:
            error: What the attempt raised.
            attempt: Its number, from 1.
            max_attempts: How many attempts the run may have; it overrides `attempts`.

        Returns:
            Seconds to wait before the next attempt, or None when the run has failed for good.
        """
        if attempt >= max_attempts or isinstance(error, (Abort, *self.abort)):
            return None
        if self.rule is not None:
            verdict = self.rule(error, attempt)
            if verdict is False:
                return None
            if verdict is not None and verdict is not True:
                return max(0.0, float(verdict))
        return self.delay_after(attempt) if isinstance(error, self.retry_on) else None

    def to_wire(self) -> dict[str, Any]:
        """The policy in the manifest's words; exception rules stay in the code."""
        return {
            "maxAttempts": self.attempts,
            "factor": self.factor,
            "minTimeoutInMs": round(self.min_delay * 1000),
            "maxTimeoutInMs": round(self.max_delay * 1000),
            "randomize": self.jitter,
        }
