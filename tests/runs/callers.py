"""Callers of the engine like the servers' own: what fails is said again until it is reported done.

With HOLDFAST_TEST_FAULTS=0.02 that share of all statements, commits and calls of Redis fails inside
of every operation that a test of the engine calls (HOLDFAST_TEST_SEED repeats which). Each test
must pass as it does in calm weather:

- What failed before its commit is said again, on a fresh connection where the old one broke, and
  must be as if it had never been said.
- What was committed and not reported is said again too, by operations that callers repeat. A worker
  that reports again, or a client that asks again with the key of its request, must change nothing;
  a claim is never repeated, because its answer went to nobody: see test_faults.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any
from uuid import uuid4

from django.db import InterfaceError, OperationalError, connection
from django.db.transaction import TransactionManagementError

from apps.core import transactions
from tests.runs.faults import Faults, NotReported, RedisFaults

RATE = float(os.environ.get("HOLDFAST_TEST_FAULTS", "0"))
SEED = os.environ.get("HOLDFAST_TEST_SEED", "") or str(random.randrange(10**6))
_TRIES = 200

Arguments = dict[str, Any]
Operation = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Repetition:
    """How callers say an operation for the first time, and again; what must then be the same."""

    first: Callable[[Arguments], Arguments] = lambda given: given
    again: Callable[[Arguments], Arguments] = lambda given: given
    same: Callable[[Any], Any] = lambda _: None


def _keyed(given: Arguments) -> Arguments:
    """A client sends a key of its own with each request, so that it may repeat it."""
    requests = [replace(r, request_key=r.request_key or uuid4().hex) for r in given["requests"]]
    return given | {"requests": requests}


def _reports_only(given: Arguments) -> Arguments:
    return given | {"offers": []}


REPETITIONS = {
    "trigger_runs": Repetition(
        first=_keyed, same=lambda made: [(one.run_id, one.waitpoint_id) for one in made]
    ),
    "_settle_and_claim": Repetition(again=_reports_only),
    "cancel_run": Repetition(same=lambda run: run.pk),
    "add_tags": Repetition(same=lambda run: run.tags),
    "reschedule_run": Repetition(same=lambda run: run.delayed_until),
    "complete_token": Repetition(),
    "open_session": Repetition(same=lambda opened: opened.session_id),
    "extend_leases": Repetition(same=lambda extended: extended.kept),
    "queue_due": Repetition(),
    "expire": Repetition(),
    "rescue": Repetition(),
    "end_overdue_cancellations": Repetition(),
    "complete_due": Repetition(),
}


class _Weather:
    """The faults of the test that runs now, for all its threads; none between tests."""

    faults: Faults | None = None


_local = threading.local()


@contextmanager
def storm(name: str) -> Iterator[None]:
    """Inside of the block, the outermost operations fail now and then, as this name's dice say."""
    dice = f"{SEED}:{name}"
    _Weather.faults = Faults(seed=dice, rate=RATE)
    try:
        with RedisFaults(seed=dice, rate=RATE).installed():
            yield
    finally:
        _Weather.faults = None


def install() -> None:
    """Have every operation that is defined from now on called as the servers call it."""
    calm = transactions.retried

    def retried(operation: Operation) -> Operation:
        caller = Caller(operation, calm)

        @wraps(operation)
        def call(*args: Any, **kwargs: Any) -> Any:
            return caller(*args, **kwargs)

        return call

    transactions.retried = retried  # type: ignore[assignment]


class Caller:
    """Says one operation until it is reported as done."""

    def __init__(self, operation: Operation, calm: Callable[[Operation], Operation]) -> None:
        @wraps(operation)
        def remembered(*args: Any, **kwargs: Any) -> Any:
            _local.result = operation(*args, **kwargs)
            return _local.result

        self._operation = calm(remembered)
        self._names = operation.__code__.co_varnames[: operation.__code__.co_argcount]
        self._repetition = REPETITIONS.get(operation.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        faults = _Weather.faults
        if faults is None or connection.in_atomic_block:
            return self._operation(*args, **kwargs)
        given = dict(zip(self._names, args, strict=False)) | kwargs
        if self._repetition is None:
            return self._persist(given, faults)
        return self._repeat(given, faults, self._repetition)

    def _repeat(self, given: Arguments, faults: Faults, repetition: Repetition) -> Any:
        """Say it, and again when it was done and not reported; what it answered first."""
        given = repetition.first(given)
        try:
            return self._persist(given, faults, is_repeated=True)
        except NotReported:
            first = _local.result
        second = self._persist(repetition.again(given), faults)
        assert repetition.same(second) == repetition.same(first), "a repetition is something else"
        return first

    def _persist(self, given: Arguments, faults: Faults, *, is_repeated: bool = False) -> Any:
        for _ in range(_TRIES):
            made = faults.made.total()
            try:
                with faults.installed(is_repeated=is_repeated):
                    return self._operation(**given)
            except NotReported:
                raise
            except (OperationalError, InterfaceError, TransactionManagementError):
                # what is heard of a fault may be what it led to, as when a savepoint is left
                if faults.made.total() == made and not is_broken():
                    raise
            finally:
                if is_broken():
                    connection.close()
        raise AssertionError(f"it failed {_TRIES} times")


def is_broken() -> bool:
    """Whether this thread's connection was lost."""
    return connection.connection is not None and connection.connection.closed
