"""Nine tenants of whom one brings a hundred times as much: who is served, and how soon.

A tenant is a concurrency key of one queue, as a customer makes one for each of its own customers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace

from bench.bed import Bed
from bench.figures import Figure, cancel_backlog, start_delays
from holdfast.client import BatchItem

TENANTS = 9
_EACH = 200
_BIG = 100 * _EACH
_STARTED = TENANTS * _EACH // 2
_RATE = 30.0
_CALLS = 200
_SERVED = """
SELECT concurrency_key, count(*)
FROM (
    SELECT concurrency_key FROM runs_run
    WHERE queue = 'tenants' AND started_at IS NOT NULL
    ORDER BY started_at, id
    LIMIT %s
) AS first
GROUP BY concurrency_key
"""
_COUNT = "SELECT count(*) FROM runs_run WHERE queue = 'tenants' AND started_at IS NOT NULL"
_PATIENCE = 120.0


def tenant_figures(ready: Bed) -> Iterator[Figure]:
    """Over all starts while every tenant has runs waiting, and a small one's delay meanwhile."""
    cancel_backlog(ready)
    with ready.worker(capacity=16):
        alone = _p99(ready)
        _fill(ready)
        yield _jain(ready)
        beside = _p99(ready)  # the big one has runs waiting all the time
    cancel_backlog(ready)
    yield Figure(
        name="small_tenant_p99_beside_a_big_one",
        value=round(beside / alone, 2),
        unit="times an idle system's",
        rounds=[round(alone, 1), round(beside, 1)],
    )


def _p99(ready: Bed) -> float:
    """Milliseconds from a small tenant's call to the first line of its task."""
    options = {"queue": {"name": "tenants"}, "concurrencyKey": "small1"}
    target = replace(ready.target("began"), body=json.dumps({"options": options}))
    delays = asyncio.run(start_delays(ready, target, rate=_RATE, count=_CALLS))
    return delays[int(len(delays) * 0.99)]


def _fill(ready: Bed) -> None:
    ready.database.execute("UPDATE environments_environment SET paused_at = now()")
    ready.database.execute("DELETE FROM runs_run WHERE queue = 'tenants'")
    with ready.client() as api:
        for number in range(TENANTS):
            options = {"queue": "tenants", "concurrency_key": f"small{number}" if number else "big"}
            item = BatchItem(task="noop", options=options)  # type: ignore[arg-type]
            for _ in range(0, _EACH if number else _BIG, 1_000):
                api.batch_trigger([item] * (_EACH if number else 1_000))
    ready.database.execute("UPDATE environments_environment SET paused_at = NULL")
    with ready.client() as api:
        api.trigger("noop")  # rings the bell


def _jain(ready: Bed) -> Figure:
    deadline = time.monotonic() + _PATIENCE
    while ready.value(_COUNT) < _STARTED:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {_STARTED} runs have started")
        time.sleep(0.05)
    counts = [row[1] for row in ready.database.execute(_SERVED, [_STARTED]).fetchall()]
    index = sum(counts) ** 2 / (TENANTS * sum(count**2 for count in counts))
    return Figure(
        name="tenants_jain_index", value=round(index, 4), unit="",
        rounds=[float(count) for count in counts], at_least=0.9,
    )  # fmt: skip
