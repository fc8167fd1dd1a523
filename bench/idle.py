"""What it costs to be there: processor time with everything up, and statements for idle tenants."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from bench.bed import Bed, bed
from bench.figures import Figure

TENANTS = 200
_SETTLE = 12.0
_WINDOW = 20.0
_TRANSACTIONS = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"


def idle_figures(_common: Bed) -> Iterator[Figure]:
    """On a bed of its own, which has every process of the platform and one worker."""
    with bed(without=()) as ready, ready.worker(capacity=16) as worker:
        time.sleep(_SETTLE)
        percent, before = _watch(ready, worker.pid)
        yield Figure(
            name="idle_processor_time", value=round(percent, 2), unit="% of a core",
            rounds=_shares, at_most=25.0,
        )  # fmt: skip
        ready.run("-m", "bench.crowd", str(TENANTS))
        time.sleep(_SETTLE)
        _, after = _watch(ready, worker.pid)
        yield Figure(
            name="transactions_per_idle_tenant",
            value=round(max(0.0, after - before) / TENANTS, 3),
            unit=f"in {_WINDOW:g} s",
            rounds=[before, after],
            at_most=0.1,
        )


_shares: list[float] = []


def _watch(ready: Bed, worker: int) -> tuple[float, float]:
    """Percent of a core that all processes took, and PostgreSQL's transactions."""
    roots = {**ready.supervisor.pids, "worker": worker}
    spent, counted = _spent(roots), ready.value(_TRANSACTIONS)
    time.sleep(_WINDOW)
    now = _spent(roots)
    _shares[:] = [round((now[name] - spent[name]) / _WINDOW * 100, 2) for name in roots]
    return sum(_shares), float(ready.value(_TRANSACTIONS) - counted)


def _spent(roots: dict[str, int]) -> dict[str, float]:
    return {name: sum(map(_seconds, _tree(pid))) for name, pid in roots.items()}


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
