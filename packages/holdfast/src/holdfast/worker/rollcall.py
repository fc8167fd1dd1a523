"""Finds the run that a task process had taken when it died, and had not said so yet.

The rule it keeps: a process says what it has taken before it executes any of it, so such a run was
not executed. But another process may have it and be about to say so; the answer to a question,
coming after that in the same stream, tells.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.worker.backlog import Backlog
from holdfast.worker.pool import TaskProcess


class RollCall:
    """Asks all processes after one has died, if runs are missing from the tray.

    Args:
        backlog: Has the tray, and takes the runs that nobody has.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._tray = backlog.tray
        self._backlog = backlog
        self._number = 0
        self._missing: list[int] = []
        self._asked: set[TaskProcess] = set()

    def process_ended(self, process: TaskProcess, others: Iterable[TaskProcess]) -> None:
        """Look for what this process may have had; `others` are those that are at work."""
        self._asked.discard(process)
        if not self._tray:
            return
        self._backlog.recall()
        self._missing = self._tray.slips
        if self._missing:
            self._number += 1
            self._asked = set(others)
            for other in self._asked:
                other.send({"op": "present", "number": self._number})
        self._close()

    def heard(self, process: TaskProcess, number: int) -> None:
        """A process has answered: what it has taken it has said."""
        if number == self._number:
            self._asked.discard(process)
            self._close()

    def _close(self) -> None:
        if not self._asked and self._missing:
            slips, self._missing = self._missing, []
            self._backlog.put_back(self._tray.lost(slips))
            self._backlog.dispatch()
