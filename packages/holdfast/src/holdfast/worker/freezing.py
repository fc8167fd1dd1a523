"""Letting the provider freeze this worker while all of its runs wait, and going on when thawed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from holdfast.protocol import Freeze, Held, Prepare, Prepared
from holdfast.worker.connection import Connection
from holdfast.worker.held import HeldRuns

LOOK_SECONDS = 0.25
JUMP_SECONDS = 2.0
"""The clock on the wall jumps by more than this only when the whole machine, or we, stood still."""


class Freezing:
    """A worker's part in being frozen.

    Args:
        held: All runs of the worker.
        connection: Closed while the worker is silent.
        close_others: Closes the worker's own connections other than to the coordinator.

    Attributes:
        checkpoint: What the worker was frozen as, until a server has welcomed it again.
    """

    def __init__(
        self, *, held: HeldRuns, connection: Connection, close_others: Callable[[], object]
    ) -> None:
        self.checkpoint: str | None = None
        self._held = held
        self._connection = connection
        self._close_others = close_others
        self._asked: str | None = None
        self._unready: set[str] = set()

    def prepare(self, message: Prepare) -> None:
        """Have the task processes close their connections, unless one does more than wait."""
        if not self._is_idle:
            return
        self._asked = message.checkpoint
        self._unready = {run.id for run in self._held}
        for run in self._held:
            if run.process is not None:
                run.process.send({"op": "prepare", "run": run.id})

    def heard(self, run_id: str) -> None:
        """A task process has closed its connections."""
        self._unready.discard(run_id)
        if self._asked is None or self._unready:
            return
        checkpoint, self._asked = self._asked, None
        if self._is_idle:
            self._close_others()
            self._connection.send(Prepared(checkpoint=checkpoint, holding=self._held.to_wire()))

    def freeze(self, message: Freeze) -> None:
        """Be silent until thawed."""
        if self._is_idle:
            self.checkpoint = message.checkpoint
            self._connection.be_silent(thawed(message.quiet_seconds))

    def adopted(self, holding: Sequence[Held]) -> None:
        """Go on under the generations that the server has given to what was kept."""
        self.checkpoint = None
        for held in holding:
            run = self._held.get(held.run)
            if run is not None:
                run.generation = held.generation
                if run.suspended is not None:
                    run.suspended = replace(run.suspended, generation=held.generation)

    @property
    def _is_idle(self) -> bool:
        return len(self._held) > 0 and all(
            run.suspended is not None and run.result is None and run.process is not None
            for run in self._held
        )


async def thawed(quiet_seconds: float) -> None:
    """Until the clock on the wall has jumped, or nothing has happened for so long."""
    before = time.time()
    deadline = before + quiet_seconds
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.time()
        if now - before > JUMP_SECONDS or now >= deadline:
            return
        before = now
