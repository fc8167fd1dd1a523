"""How long after a crash of PostgreSQL runs are executed as fast as before."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator

import psycopg

from bench.bed import Bed
from bench.figures import Figure, cancel_backlog
from holdfast.client import BatchItem

_RUNS = 20_000
_SAMPLE = 0.25
_SPAN = 2.0
_SHARE = 0.8
_PATIENCE = 120.0
_LEFT = "SELECT count(*) FROM runs_readyrun"


def recovery_figures(ready: Bed) -> Iterator[Figure]:
    """From the first connection that it takes again to two seconds at 80 % of the rate before."""
    cancel_backlog(ready)
    with ready.worker(capacity=16):
        with ready.client() as api:
            for _ in range(_RUNS // 1_000):
                api.batch_trigger([BatchItem(task="noop")] * 1_000)
        rate = _rate_before(ready)
        os.kill(ready.supervisor.pids["postgres"], signal.SIGQUIT)  # a crash: no checkpoint
        seconds = _recovered(ready.supervisor.environment["DATABASE_URL"], rate * _SHARE)
    ready.reconnect()
    cancel_backlog(ready)
    yield Figure(
        name="recovery_after_postgresql_crash", value=round(seconds, 1), unit="s",
        rounds=[round(rate, 1)], at_most=30.0,
    )  # fmt: skip


def _rate_before(ready: Bed) -> float:
    time.sleep(_SPAN)
    began, left = time.monotonic(), ready.value(_LEFT)
    time.sleep(2 * _SPAN)
    return float(left - ready.value(_LEFT)) / (time.monotonic() - began)


def _recovered(url: str, wanted: float) -> float:
    """Seconds from when it answers again; raises TimeoutError."""
    database = _connected(url)
    back = time.monotonic()
    seen: deque[tuple[float, int]] = deque()
    while time.monotonic() < back + _PATIENCE:
        row = database.execute(_LEFT).fetchone()
        seen.append((time.monotonic(), row[0] if row else 0))
        while seen[-1][0] - seen[0][0] > _SPAN:
            seen.popleft()
        (first, more), (last, less) = seen[0], seen[-1]
        if last - first > _SPAN - 2 * _SAMPLE and (more - less) / (last - first) >= wanted:
            return first - back
        time.sleep(_SAMPLE)
    raise TimeoutError(f"{wanted:.0f} runs a second are not reached any more")


def _connected(url: str) -> psycopg.Connection[tuple[int]]:
    deadline = time.monotonic() + _PATIENCE
    time.sleep(1.0)  # it goes down
    while True:
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
