"""`make soak HOURS=1`: steady load for hours, while what must stay flat is measured.

Each window gives one JSON line: sizes and dead rows of the hot tables, WAL per run, memory and open
files of each process, and how long runs waited for their start. In the middle a reader holds a
snapshot for two minutes, as a forgotten `psql` would. The last line compares the last third of the
windows with the first; exits with 1 when something grew beyond its bound.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import psycopg

from bench.chaos.load import Load
from bench.chaos.stage import Stage, stage

_HOT = (
    "runs_readyrun", "runs_lease", "runs_lane", "runs_timer", "runs_wait", "runs_environmentslots",
    "runs_queueslots",
)  # fmt: skip
_SNAPSHOT_SECONDS = 120.0
# the last third may be at most this many times the first, or this much more
_BOUNDS = {
    "hot_bytes": (2.0, 8 * 2**20),
    "dead_rows": (3.0, 5_000),
    "memory_bytes": (1.25, 64 * 2**20),
    "open_files": (1.2, 32),
    "wal_bytes_per_run": (1.5, 4_096),
    "wait_p99_ms": (2.0, 250),
}


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    with stage(workers=2) as running:
        load = Load(running, given.rate, seed=1)
        load.start()
        reader = threading.Timer(given.hours * 1800, _hold_snapshot, args=[running])
        reader.daemon = True
        reader.start()
        windows = list(_windows(running, given.hours * 3600, given.window))
        load.stop()
    verdict = _compare(windows)
    print(json.dumps({"name": "soak", "runs": sum(w["runs"] for w in windows), **verdict}))
    return 0 if all(each["holds"] for each in verdict.values()) else 1


def _windows(running: Stage, seconds: float, window: float) -> Iterator[dict[str, Any]]:
    end = time.monotonic() + seconds
    wal, ended = _wal(running), _ended(running)
    while time.monotonic() < end:
        time.sleep(window)
        next_wal, next_ended = _wal(running), _ended(running)
        found = {
            "name": "window",
            "runs": next_ended - ended,
            "wal_bytes_per_run": (next_wal - wal) / max(next_ended - ended, 1),
            **_tables(running),
            **_processes(running),
            "wait_p99_ms": _waits(running, window),
        }
        wal, ended = next_wal, next_ended
        print(json.dumps(found), flush=True)
        yield found


def _wal(running: Stage) -> int:
    return int(running.query("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0][0])


def _ended(running: Stage) -> int:
    return int(running.query("SELECT count(*) FROM runs_run WHERE finished_at IS NOT NULL")[0][0])


def _tables(running: Stage) -> dict[str, int]:
    rows = running.query(
        "SELECT pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables"
        " WHERE relname = ANY(%s)",
        list(_HOT),
    )
    return {"hot_bytes": sum(r[0] for r in rows), "dead_rows": sum(r[1] for r in rows)}


def _processes(running: Stage) -> dict[str, int]:
    memory = files = 0
    for name, pid in running.supervisor.pids.items():
        if name in {"postgres", "redis", "clickhouse"}:
            continue  # their caches grow on purpose, to their own limits
        process = psutil.Process(pid)
        memory += process.memory_info().rss
        files += process.num_fds()
    return {"memory_bytes": memory, "open_files": files}


def _waits(running: Stage, window: float) -> float:
    """The 99th percentile between triggered and first started, in milliseconds."""
    rows = running.query(
        "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at"
        " - created_at) * 1000) FROM runs_run WHERE started_at > now() - %s * interval '1 second'",
        window,
    )
    return float(rows[0][0] or 0.0)


def _hold_snapshot(running: Stage) -> None:
    url = running.supervisor.environment["DATABASE_URL"]
    with psycopg.connect(url) as database:
        database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        database.execute("SELECT count(*) FROM runs_readyrun")
        time.sleep(_SNAPSHOT_SECONDS)


def _compare(windows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    third = max(1, len(windows) // 3)
    verdict = {}
    for name, (factor, more) in _BOUNDS.items():
        first = statistics.median(w[name] for w in windows[:third])
        last = statistics.median(w[name] for w in windows[-third:])
        holds = last <= max(first * factor, first + more)
        verdict[name] = {"first": round(first), "last": round(last), "holds": holds}
    return verdict


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=20.0, help="runs a second")
    parser.add_argument("--window", type=float, default=60.0, help="seconds per line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
