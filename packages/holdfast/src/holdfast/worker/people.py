"""Tells people what happens in a worker, where somebody listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.protocol import Failed
from holdfast.worker.options import WorkerEvent
from holdfast.worker.run import Run


class People:
    """Whoever wants to see what happens.

    Args:
        on_event: Called with each event; None: nobody does.
    """

    def __init__(self, on_event: Callable[[WorkerEvent], None] | None) -> None:
        self._on_event = on_event

    def tell(self, kind: str, run: Run | None = None, **fields: Any) -> None:
        """Tell an event, with the names of the run that it is about."""
        if self._on_event is None:
            return
        if run is not None:
            fields |= {"run": run.id, "task": run.order.task, "attempt": run.attempt}
        self._on_event(WorkerEvent(kind=kind, **fields))

    def tell_failed(self, run: Run, result: Failed) -> None:
        """Tell that an attempt has failed, and whether another follows."""
        self.tell(
            "failed",
            run,
            detail=f"{result.outcome}: {result.error.get('message', '')}",
            seconds=result.executed_ms / 1000,
            will_retry=result.retry_delay_ms is not None,
        )
