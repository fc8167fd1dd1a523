"""The worker: executes runs in processes of its own, for a coordinator it is connected to."""

from __future__ import annotations

import asyncio
import signal

from holdfast.worker.connection import ConnectionRefused
from holdfast.worker.options import WorkerEvent, WorkerOptions
from holdfast.worker.pool import ProjectFailed
from holdfast.worker.worker import Worker

__all__ = [
    "ConnectionRefused",
    "ProjectFailed",
    "Worker",
    "WorkerEvent",
    "WorkerOptions",
    "serve",
]


async def serve(options: WorkerOptions, *, handle_signals: bool = True) -> None:
    """Run a worker to its end.

    Args:
        options: How it is set up.
        handle_signals: Whether SIGTERM and SIGINT drain it, and a second one stops it.

    Raises:
        ConnectionRefused: The server refused the worker for good.
        ProjectFailed: The customer's code could not be imported; the text is the traceback.
    """
    worker = Worker(options)
    if handle_signals:
        _handle_signals(worker)
    await worker.run()


def _handle_signals(worker: Worker) -> None:
    told: list[int] = []

    def on_signal(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            worker.drain()
        else:
            worker.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
