"""Operations on connections of their own: at the same moment, or one held while another runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

Call = Callable[[], Any]

_PATIENCE = 120.0
_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""


class Background:
    """A call on a thread with its own connection; its result, or what it raised."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error
        finally:
            connection.close()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(_PATIENCE)
        assert self.is_done, "it hangs"
        if self._error is not None:
            raise self._error
        return self._result


def together(*calls: Call) -> list[Any]:
    """Start all calls at the same moment; their results."""
    barrier = threading.Barrier(len(calls))

    def timed(call: Call) -> Any:
        barrier.wait(_PATIENCE)
        return call()

    started = [Background(lambda call=call: timed(call)) for call in calls]
    return [one.result() for one in started]


@contextmanager
def holding(call: Call) -> Iterator[Background]:
    """Inside of the block, a call has been made whose transaction is still open."""
    made, release = threading.Event(), threading.Event()

    def hold() -> Any:
        try:
            with transaction.atomic():
                result = call()
                made.set()
                assert release.wait(_PATIENCE)
                return result
        finally:
            made.set()

    held = Background(hold)
    assert made.wait(_PATIENCE)
    try:
        yield held
    finally:
        release.set()


def wait_until_blocked(*others: Background) -> None:
    """Until each of these waits for a lock, or is done."""
    deadline = time.monotonic() + _PATIENCE
    while (running := sum(not other.is_done for other in others)) > _blocked():
        assert time.monotonic() < deadline, f"{running} calls neither wait nor end"
        time.sleep(0.005)


def _blocked() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees it only once
        cursor.execute(_BLOCKED)
        return int(cursor.fetchone()[0])


def one_before_other(first: Call, second: Call) -> tuple[Any, Any]:
    """The second begins while the first has done all its work, but has not committed."""
    with holding(first) as held:
        other = Background(second)
        wait_until_blocked(other)
    return held.result(), other.result()
