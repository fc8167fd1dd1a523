"""`make chaos MINUTES=10`: load under every kind of harm, then a reading of the history.

Exits with 1 when a promise was broken. `--seed` repeats the order of harms and of work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import threading
import time
from collections import Counter

import psycopg

from bench.chaos import checker
from bench.chaos.load import Load
from bench.chaos.stage import ENVIRONMENT_LIMIT, LEASE, Stage, shifter, stage, wait_until
from bench.chaos.trouble import Trouble

_CALM_SECONDS = 300
_OPEN = "SELECT count(*) FROM runs_run WHERE finished_at IS NULL"
_HELD = """
SELECT n.queue, n.key, count(*) FROM runs_lease l JOIN runs_lane n ON n.id = l.lane_id
WHERE l.holds_slot GROUP BY 1, 2
"""


class Observer:
    """Looks every few milliseconds how many slots are held, and remembers the most."""

    def __init__(self, stage: Stage) -> None:
        self.peaks: Counter[str] = Counter()
        self.looks = 0
        self._stage = stage
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.02):
            with contextlib.suppress(psycopg.Error):
                self._look()

    def _look(self) -> None:
        held = self._stage.query(_HELD)
        self.looks += 1
        self._peak("environment", sum(count for _, _, count in held))
        for queue, _, count in held:
            self._peak(f"one key of {queue}", count)

    def _peak(self, name: str, count: int) -> None:
        self.peaks[name] = max(self.peaks[name], count)


def main() -> int:
    given = _arguments()
    seed = given.seed if given.seed is not None else random.randrange(10**6)
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {text}", flush=True)

    tell(f"seed {seed}")
    if shifter() is None:
        tell("no faketime here: no worker has a clock of its own")
    with stage(workers=given.workers) as running:
        load = Load(running, given.rate, seed)
        observer = Observer(running)
        trouble = Trouble(running, seed, tell)
        load.start()
        trouble.until(time.monotonic() + given.minutes * 60)
        load.stop()
        tell("calm: what is open may end")
        wait_until(lambda: running.query(_OPEN) == [(0,)], seconds=_CALM_SECONDS + LEASE)
        observer.stop()
        history = checker.read(running)
    limits = {"environment": ENVIRONMENT_LIMIT, "one key of keyed": 1}
    found = checker.violations(history, load.accepted, observer.peaks, limits)
    print(checker.shown(found))
    print(json.dumps(_figures(history, load, observer, trouble, seed)))
    return 1 if any(found.values()) else 0


def _figures(
    history: checker.History, load: Load, observer: Observer, trouble: Trouble, seed: int
) -> dict[str, object]:
    return {
        "seed": seed,
        "accepted": len(load.accepted),
        "refused": load.refused,
        "runs": len(history.runs),
        "ended as": Counter(f"{run['task']} {run['status']}" for run in history.runs.values()),
        "attempts": len(history.attempts),
        "events": Counter(kind for _, kind, _ in history.events),
        "overlaps, fenced": checker.overlaps(history),
        "most slots held": observer.peaks,
        "looks": observer.looks,
        "deposits": len(history.deposits),
        "ticks": Counter(tick["outcome"] for tick in history.ticks),
        "a worker's clock is shifted": shifter() is not None,
        "harms": trouble.done,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=20.0, help="runs a second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
