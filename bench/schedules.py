"""Many schedules at one minute: how fast the engine starts their runs, and that none starts two.

`python -m bench.schedules [COUNT [ENGINES]]` measures this alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.bed import Bed, bed
from bench.figures import Figure
from config.supervisor_programs import ROOT

COUNT = 100_000
_STUCK_SECONDS = 60.0
_SEED = """
INSERT INTO schedules_schedule (
    id, environment_id, kind, task, deduplication_key, cron, timezone, "window", phase,
    jitter_seconds, overlap, missed, missed_limit, is_active, next_at, due_at, created_at,
    updated_at
)
SELECT gen_random_uuid(), e.id, 'imperative', 'scheduled', 'bench-' || n, '0 * * * *',
       (ARRAY['UTC', 'Europe/Paris', 'America/New_York', 'Asia/Kolkata'])[1 + n %% 4], '',
       n %% 1000, 0, 'skip', 'one', 1, true, %(at)s, %(at)s, now(), now()
FROM generate_series(1, %(count)s) AS n
CROSS JOIN (SELECT environment_id AS id FROM deployments_promotion LIMIT 1) AS e
"""
_HOUR = "SELECT date_trunc('hour', now()) "
_LEFT = "SELECT count(*) FROM schedules_schedule WHERE due_at <= now()"
_TWICE = """
SELECT (SELECT count(*) FROM schedules_tick WHERE outcome = 'triggered')
     - (SELECT count(DISTINCT schedule_id) FROM schedules_tick)
     + (SELECT count(*) FROM runs_run WHERE schedule_id IS NOT NULL)
     - (SELECT count(DISTINCT run_id) FROM schedules_tick)
"""


def schedule_figures(ready: Bed, *, count: int = COUNT, engines: int = 1) -> Iterator[Figure]:
    """Schedules of one environment in four time zones, all due at the same full hour."""
    ready.database.execute("DELETE FROM schedules_schedule")
    ready.database.execute("DELETE FROM schedules_tick")
    at = ready.value(_HOUR)
    with ExitStack() as stack:
        for _ in range(engines - 1):
            stack.enter_context(_engine(ready))
        began = time.perf_counter()
        # in one transaction: they become due at one moment, as at a full hour
        ready.database.execute(_SEED, {"at": at, "count": count})
        seeded = time.perf_counter()
        _wait(ready)
        seconds = time.perf_counter() - seeded
    triggered = ready.value("SELECT count(*) FROM schedules_tick WHERE outcome = 'triggered'")
    ready.database.execute("UPDATE schedules_schedule SET next_at = NULL, due_at = NULL")
    yield Figure(
        name=f"schedules_at_one_minute_{count}_by_{engines}_engines",
        value=round(triggered / seconds, 1),
        unit="ticks/s",
        rounds=[round(seconds, 1), round(seeded - began, 1)],
        at_least=500,
    )
    yield Figure(
        name="schedules_that_started_two_runs_or_none",
        value=float(ready.value(_TWICE)) + count - triggered,
        unit="schedules",
        rounds=[float(triggered)],
        at_most=0,
    )


def _wait(ready: Bed) -> None:
    """Until nothing is due any more, as long as there is progress."""
    left, looked = ready.value(_LEFT), time.monotonic()
    while left and time.monotonic() - looked < _STUCK_SECONDS:
        time.sleep(0.1)
        if (now := ready.value(_LEFT)) < left:
            left, looked = now, time.monotonic()
    if left:
        raise TimeoutError(f"{left} schedules are due and do not tick")


@contextmanager
def _engine(ready: Bed) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "engine"],
        cwd=ROOT,
        env=ready.supervisor.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main(count: str = str(COUNT), engines: str = "1") -> None:
    with bed() as ready:
        for figure in schedule_figures(ready, count=int(count), engines=int(engines)):
            print(json.dumps(figure.as_json()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
