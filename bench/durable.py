"""Durable runs: three steps each as fast as they go, and very many that wait and are then woken.

`python -m bench.durable [COUNT]` measures this alone, with COUNT waiting runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import psutil

from bench.bed import Bed, bed
from bench.figures import Figure, cancel_backlog
from holdfast.client import BatchItem

COUNT = 100_000
STEPS = 3
_BATCH = 1_000
_DECADE_SECONDS = 10 * 365 * 86_400
_PATIENCE_SECONDS = 7_200.0
_MIB = 1024 * 1024

_UNFINISHED = "SELECT count(*) FROM runs_run WHERE finished_at IS NULL"
_AWAKE = (
    "SELECT count(*) FROM runs_run WHERE finished_at IS NULL "
    "AND NOT (status = 'WAITING' AND suspended_attempt_id IS NOT NULL)"
)
_LEASES = "SELECT count(*) FROM runs_lease"
_SIZE = "SELECT pg_database_size(current_database())"
_DEAD = "SELECT count(*) FROM runs_run WHERE task = 'asleep' AND status <> 'COMPLETED'"
_ROWS = """
SELECT (SELECT count(*) FROM runs_run) + (SELECT count(*) FROM runs_attempt)
     + (SELECT count(*) FROM runs_runevent) + (SELECT count(*) FROM runs_journalentry)
     + (SELECT count(*) FROM runs_wait) + (SELECT count(*) FROM runs_waitpoint)
     + (SELECT count(*) FROM runs_lease) + (SELECT count(*) FROM runs_readyrun)
"""


def durable_figures(ready: Bed, *, count: int = COUNT) -> Iterator[Figure]:
    """Steps first, then sleepers, by one worker of sixteen places."""
    cancel_backlog(ready)
    with ready.worker(capacity=16) as worker:
        yield from _three_steps(ready)
        yield from _sleepers(ready, psutil.Process(worker.pid), count)


def _three_steps(ready: Bed, *, runs: int = 2_000) -> Iterator[Figure]:
    """Drained runs per second with and without steps, and what a step costs by that."""
    rounds = {task: [_drained(ready, task, runs) for _ in range(4)][1:] for task in _TASKS}
    rates = {task: sorted(found)[1] for task, found in rounds.items()}
    yield Figure(
        name="three_step_durable_runs",
        value=round(rates["three-steps"], 1),
        unit="runs/s",
        rounds=[round(each, 1) for each in rounds["three-steps"]],
    )
    cost = (1 / rates["three-steps"] - 1 / rates["noop"]) / STEPS * 1_000
    yield Figure(
        name="recorded_step_amortised",
        value=round(cost, 3),
        unit="ms",
        rounds=[round(each, 1) for each in rounds["noop"]],
        at_most=1.0,
    )


_TASKS = ("noop", "three-steps")


def _drained(ready: Bed, task: str, runs: int) -> float:
    ready.database.execute("UPDATE environments_environment SET paused_at = now()")
    _trigger(ready, BatchItem(task=task), runs)
    time.sleep(0.5)
    began = time.perf_counter()
    ready.database.execute("UPDATE environments_environment SET paused_at = NULL")
    with ready.client() as api:
        api.trigger("noop")  # rings the bell
    _until(ready, _UNFINISHED)
    return runs / (time.perf_counter() - began)


def _sleepers(ready: Bed, worker: psutil.Process, count: int) -> Iterator[Figure]:
    """How much so many waiting runs are, and how long it takes until all have gone on."""
    memory, rows = _memory(ready, worker), ready.value(_ROWS)
    bytes_before, cpu = ready.value(_SIZE), _processor_time(ready, worker)
    began = time.perf_counter()
    _trigger(ready, BatchItem(task="asleep", payload=time.time() + _DECADE_SECONDS), count)
    _until(ready, _AWAKE)
    asleep = time.perf_counter() - began
    yield _figure("durable_runs_put_to_sleep", count / asleep, "runs/s", count)
    yield from _spent("putting_to_sleep", cpu, _processor_time(ready, worker), count)
    yield _figure("memory_of_sleeping_runs", _memory(ready, worker) - memory, "MiB", count)
    yield _figure("rows_per_sleeping_run", (ready.value(_ROWS) - rows) / count, "rows", count)
    yield _figure("leases_of_sleeping_runs", ready.value(_LEASES), "leases", count)
    size = (ready.value(_SIZE) - bytes_before) / _MIB
    yield _figure("tables_of_sleeping_runs", size, "MiB", count)
    cpu = _processor_time(ready, worker)
    began = time.perf_counter()
    ready.database.execute(
        "UPDATE runs_waitpoint SET due_at = now() WHERE completed_at IS NULL AND kind = 'time'"
    )
    _until(ready, _UNFINISHED)
    yield _figure("sleeping_runs_all_woken_and_done", time.perf_counter() - began, "s", count)
    yield from _spent("waking", cpu, _processor_time(ready, worker), count)
    if failed := ready.value(_DEAD):
        raise RuntimeError(f"{failed} of {count} sleeping runs did not complete")


def _trigger(ready: Bed, item: BatchItem, count: int) -> None:
    with ready.client() as api:
        for start in range(0, count, _BATCH):
            api.batch_trigger([item] * min(_BATCH, count - start))


def _until(ready: Bed, query: str) -> None:
    """Ask until there are none; raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while left := ready.value(query):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left} are left: {query}")
        time.sleep(0.05)


def _memory(ready: Bed, worker: psutil.Process) -> float:
    """MiB that the server's own processes and the worker hold alone; PostgreSQL caches more."""
    own = [psutil.Process(pid) for name, pid in ready.supervisor.pids.items() if name != "postgres"]
    tree = {each.pid: each for root in (*own, worker) for each in (root, *root.children(True))}
    return float(sum(each.memory_full_info().uss for each in tree.values())) / _MIB


def _processor_time(ready: Bed, worker: psutil.Process) -> dict[str, float]:
    """Seconds of each program with its children, those that have ended included."""
    roots = {name: psutil.Process(pid) for name, pid in ready.supervisor.pids.items()}
    return {name: _seconds(root) for name, root in (roots | {"worker": worker}).items()}


def _seconds(root: psutil.Process) -> float:
    tree = (root, *root.children(recursive=True))
    return sum(sum(each.cpu_times()[:4]) for each in tree if each.is_running())


def _spent(
    what: str, before: dict[str, float], after: dict[str, float], count: int
) -> Iterator[Figure]:
    """Processor time of each program for each run."""
    for name, seconds in after.items():
        each = (seconds - before.get(name, 0.0)) / count * 1_000_000
        yield _figure(f"processor_time_{what}_{name}", each, "µs/run", count)


def _figure(name: str, value: float, unit: str, count: int) -> Figure:
    return Figure(name=f"{name}_{count}", value=round(value, 2), unit=unit, rounds=[])


def main() -> int:
    """Measure on a bed of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with bed() as ready:
        for figure in durable_figures(ready, count=count):
            print(json.dumps(figure.as_json()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
