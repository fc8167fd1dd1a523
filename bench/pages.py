"""How long the dashboard's pages take with a million runs in their environment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import httpx

from bench.bed import Bed
from bench.figures import Figure

_RUNS = 1_000_000
_ROUNDS = 30
_AT_MOST_MS = 100.0
PAGES = {
    "runs": "runs",
    "runs by task": "runs?task=task-3",
    "runs by tag": "runs?tag=tenth",
    "runs by a common status": "runs?status=FAILED",
    "runs by a rare status": "runs?status=CRASHED",
    "runs by task and a rare status": "runs?task=task-3&status=CRASHED",
    "runs, the oldest first": "runs?sort=oldest",
    "runs by a rare status, the oldest first": "runs?status=CRASHED&sort=oldest",
    "tasks": "tasks",
    "task": "tasks/task-3",
    "queues": "queues",
    "batches": "batches",
    "tokens": "tokens",
    "schedules": "schedules",
    "test": "test?task=task-3",
    "deployments": "deployments",
    "palette": "palette",
}


def page_figures(bed: Bed) -> Iterator[Figure]:
    """The median time of each page, from one visitor with a kept connection."""
    made = bed.run("-m", "bench.furnish", str(_RUNS))
    with httpx.Client(base_url=bed.url, cookies={"sessionid": made["cookie"]}) as visitor:
        for name, page in PAGES.items():
            yield _timed(visitor, name, f"{made['root']}/{page}")


def _timed(visitor: httpx.Client, name: str, address: str) -> Figure:
    visitor.get(address).raise_for_status()  # what a process does once is done
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        visitor.get(address).raise_for_status()
        rounds.append((time.perf_counter() - began) * 1_000)
    return Figure(
        name=f"page: {name}, {_RUNS:,} runs",
        value=round(statistics.median(rounds), 1),
        unit="ms",
        rounds=[round(value, 1) for value in rounds],
        at_most=_AT_MOST_MS,
    )
