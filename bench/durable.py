"""Durable runs: three steps each as fast as they go, and very many that wait and are then woken.

`python -m bench.durable [COUNT]` measures this alone, with COUNT waiting runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

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

# The hot tables alone, and never counted: that would be a good part of what is measured.
_AT_WORK = "SELECT EXISTS (SELECT FROM runs_readyrun) OR EXISTS (SELECT FROM runs_lease)"
_UNFINISHED = f"{_AT_WORK} OR EXISTS (SELECT FROM runs_wait)"
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


def step_figures(ready: Bed) -> Iterator[Figure]:
    """Runs of three steps, by one worker of sixteen places."""
    cancel_backlog(ready)
    with ready.worker(capacity=16):
        yield from _three_steps(ready)


def sleeper_figures(ready: Bed, *, count: int = COUNT) -> Iterator[Figure]:
    """Very many runs that wait, by one worker of sixteen places."""
    cancel_backlog(ready)
    with ready.worker(capacity=16) as worker:
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
    _put_to_sleep(ready, min(count, _BATCH))  # what a process takes at its first time is not theirs
    _wake(ready)
    before = _Look.at(ready, worker)
    seconds = _put_to_sleep(ready, count)
    asleep = _Look.at(ready, worker)
    yield _figure("durable_runs_put_to_sleep", count / seconds, "runs/s", count)
    yield from _spent("putting_to_sleep", before, asleep, count)
    yield from _held(before, asleep, count)
    yield _figure("rows_per_sleeping_run", (asleep.rows - before.rows) / count, "rows", count)
    yield _figure("leases_of_sleeping_runs", ready.value(_LEASES), "leases", count)
    yield _figure("tables_of_sleeping_runs", asleep.stored - before.stored, "MiB", count)
    seconds = _wake(ready)
    yield _figure("sleeping_runs_all_woken_and_done", seconds, "s", count)
    yield _figure("sleeping_runs_woken_and_done", count / seconds, "runs/s", count)
    yield from _spent("waking", asleep, _Look.at(ready, worker), count)
    if failed := ready.value(_DEAD):
        raise RuntimeError(f"{failed} of {count} sleeping runs did not complete")


def _put_to_sleep(ready: Bed, count: int) -> float:
    """Trigger so many and wait until each is nothing but rows; how many seconds that took."""
    began = time.perf_counter()
    _trigger(ready, BatchItem(task="asleep", payload=time.time() + _DECADE_SECONDS), count)
    _until(ready, _AT_WORK)
    seconds = time.perf_counter() - began
    if awake := ready.value(_AWAKE):
        raise RuntimeError(f"{awake} of {count} runs do not sleep")
    return seconds


def _wake(ready: Bed) -> float:
    """Let the time of all come at once; how many seconds it took until all had ended."""
    began = time.perf_counter()
    ready.database.execute(
        "UPDATE runs_waitpoint SET due_at = now() WHERE completed_at IS NULL AND kind = 'time'"
    )
    _until(ready, _UNFINISHED)
    return time.perf_counter() - began


def _trigger(ready: Bed, item: BatchItem, count: int) -> None:
    with ready.client() as api:
        for start in range(0, count, _BATCH):
            api.batch_trigger([item] * min(_BATCH, count - start))


def _until(ready: Bed, query: str) -> None:
    """Ask until it is not so any more; raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while ready.value(query):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still so: {query}")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What there is at a moment: rows, MiB of tables, and of each program with its children the
    seconds of processor time and the MiB that are theirs alone."""

    rows: int
    stored: float
    seconds: dict[str, float]
    memory: dict[str, float]

    @classmethod
    def at(cls, ready: Bed, worker: psutil.Process) -> _Look:
        roots = {name: psutil.Process(pid) for name, pid in ready.supervisor.pids.items()}
        trees = {
            name: [root, *root.children(recursive=True)]
            for name, root in (roots | {"worker": worker}).items()
        }
        return cls(
            rows=ready.value(_ROWS),
            stored=ready.value(_SIZE) / _MIB,
            # with those of children that have ended
            seconds={n: sum(sum(p.cpu_times()[:4]) for p in tree) for n, tree in trees.items()},
            memory={n: sum(_own(n, p) for p in tree) / _MIB for n, tree in trees.items()},
        )


def _own(name: str, process: psutil.Process) -> int:
    """Bytes that a process holds for itself alone.

    What only one process of PostgreSQL has touched of its shared buffers would count as its own.
    """
    if name == "postgres":
        taken = process.memory_info()
        return int(taken.rss - taken.shared)
    return int(process.memory_full_info().uss)


def _held(before: _Look, after: _Look, count: int) -> Iterator[Figure]:
    """The memory of each program beyond what it had before, and of all together.

    PostgreSQL's shared buffers are not in it: they have one size, whatever they hold.
    """
    for name, held in after.memory.items():
        yield _figure(f"memory_of_sleeping_runs_{name}", held - before.memory[name], "MiB", count)
    more = sum(after.memory.values()) - sum(before.memory.values())
    yield _figure("memory_of_sleeping_runs", more, "MiB", count)


def _spent(what: str, before: _Look, after: _Look, count: int) -> Iterator[Figure]:
    """Processor time of each program for each run."""
    for name, seconds in after.seconds.items():
        each = (seconds - before.seconds[name]) / count * 1_000_000
        yield _figure(f"processor_time_{what}_{name}", each, "µs/run", count)


def _figure(name: str, value: float, unit: str, count: int) -> Figure:
    return Figure(name=f"{name}_{count}", value=round(value, 2), unit=unit, rounds=[])


def main() -> int:
    """Measure on a bed of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with bed() as ready:
        for figure in chain(step_figures(ready), sleeper_figures(ready, count=count)):
            print(json.dumps(figure.as_json()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
