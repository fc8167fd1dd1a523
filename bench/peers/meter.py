"""Both ends of a peer's measurement: its jobs say when they run, the driver counts.

This and the peers themselves run in environments of their own, which have nothing of Holdfast.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CAPACITY = 16
_PATIENCE = 120.0

_socket: socket.socket | None = None


def tick(number: int = 0) -> None:
    """Called by a job: tell the driver that it runs, and when."""
    global _socket
    if _socket is None:
        _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _socket.connect(os.environ["METER"])
    _socket.send(f"{number} {time.time()}".encode())


class Meter:
    """Where the jobs' datagrams arrive."""

    def __init__(self) -> None:
        path = Path(tempfile.mkdtemp(prefix="meter-")) / "socket"
        os.environ["METER"] = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._told: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # always listening: a datagram that is not taken holds up the job that sends it
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            self._told.put(self._socket.recv(100))

    def take(self, count: int) -> dict[int, float]:
        """When the next `count` jobs ran, by their number."""
        times = [self._next() for _ in range(count)]
        return dict(times) | {-1: times[0][1], -2: times[-1][1]}

    def _next(self) -> tuple[int, float]:
        number, at = self._told.get(timeout=_PATIENCE).split()
        return int(number), float(at)

    def drained(self, count: int) -> None:
        """Say how fast so many jobs ran, from the first to the last."""
        times = self.take(count)
        say("drained_noop_runs", count / (times[-2] - times[-1]), "runs/s")

    def started(self, due: dict[int, float]) -> None:
        """Say how long jobs took from the moment they were due to be enqueued to their start."""
        times: dict[int, float] = {}
        while due.keys() - times.keys():  # a job of before may be run again: its worker was killed
            times.setdefault(*self._next())
        delays = [(times[number] - at) * 1000 for number, at in due.items()]
        quantiles = statistics.quantiles(delays, n=100)
        say("idle_trigger_to_start_p50", quantiles[49], "ms")
        say("idle_trigger_to_start_p99", quantiles[98], "ms")


def say(figure: str, value: float, unit: str) -> None:
    """One figure as a line of JSON."""
    peer = Path(sys.argv[0]).stem
    print(json.dumps({"peer": peer, "name": figure, "value": round(value, 2), "unit": unit}))
    sys.stdout.flush()


@contextmanager
def worker(*command: str) -> Iterator[None]:
    """The process that runs the jobs, until the end of the block."""
    process = subprocess.Popen(
        command or [sys.executable, sys.argv[0], "work"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def from_many_callers(call: Callable[[], Awaitable[object]], *, count: int) -> None:
    """Say how many calls a second 16 callers make, each one at a time."""

    async def caller() -> None:
        for _ in range(count // CAPACITY):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CAPACITY)))
    say("single_triggers_16_clients", count / (time.perf_counter() - began), "triggers/s")


async def at_fixed_moments(
    call: Callable[[int], Awaitable[object]], *, rate: float = 30.0, count: int = 200
) -> dict[int, float]:
    """Make numbered calls at fixed moments, whether or not earlier ones have returned."""
    began, due, calls = time.time() + 0.1, {}, []
    for number in range(1, count + 1):
        due[number] = began + number / rate
        await asyncio.sleep(max(0.0, due[number] - time.time()))
        calls.append(asyncio.ensure_future(call(number)))
    await asyncio.gather(*calls)
    return due
