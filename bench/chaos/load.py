"""Steady work of every kind, and a record of what was accepted."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bench.chaos.stage import Stage
from holdfast.client.triggers import BatchItem

KEYS = ("a", "b", "c")
_BATCH = 5


@dataclass(slots=True)
class Load:
    """Triggers about `rate` runs a second, one request after another, until it is stopped.

    Attributes:
        accepted: The id of each acknowledged run, with the number in its payload.
        refused: Requests that failed in spite of the client's own retries.
    """

    stage: Stage
    rate: float
    seed: int
    accepted: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    _number: int = 0
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Trigger nothing more, and let no schedule tick any more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        while not self._is_quiet():
            time.sleep(1)

    def _is_quiet(self) -> bool:
        """Deactivate every schedule; False when the server cannot be reached."""
        try:
            with self.stage.client() as client:
                for each in client.schedules.list().data:
                    client.schedules.deactivate(each.id)
        except Exception:
            return False
        return True

    def _run(self) -> None:
        dice = random.Random(self.seed)
        kinds = [
            self._plain, self._keyed, self._flaky, self._sleepy, self._parent, self._batch,
            self._batcher, self._ledger,
        ]  # fmt: skip
        with self.stage.client() as client:
            while not self._end.is_set():
                begun = time.monotonic()
                try:
                    made = dice.choice(kinds)(client, dice)
                except Exception:
                    self.refused += 1
                    made = 1
                self._end.wait(max(0.0, made / self.rate - (time.monotonic() - begun)))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _trigger(self, client: Any, task: str, payload: dict[str, Any], **options: Any) -> int:
        number = self._next()
        handle = client.trigger(task, {"number": number, **payload}, **options)
        self.accepted[handle.id] = number
        return 1

    def _plain(self, client: Any, dice: random.Random) -> int:
        return self._trigger(client, "plain", {"seconds": dice.choice([0, 0.1, 1.0])})

    def _keyed(self, client: Any, dice: random.Random) -> int:
        return self._trigger(client, "keyed", {}, concurrency_key=dice.choice(KEYS))

    def _flaky(self, client: Any, dice: random.Random) -> int:
        return self._trigger(client, "flaky", {"failures": dice.choice([0, 1, 3])})

    def _sleepy(self, client: Any, dice: random.Random) -> int:
        return self._trigger(client, "sleepy", {"seconds": dice.choice([0.5, 3, 8])})

    def _parent(self, client: Any, dice: random.Random) -> int:
        return 3 + self._trigger(client, "parent", {})

    def _batcher(self, client: Any, dice: random.Random) -> int:
        return 3 + self._trigger(client, "batcher", {})

    def _ledger(self, client: Any, dice: random.Random) -> int:
        return 3 + self._trigger(client, "ledger", {"seconds": dice.choice([0.2, 2])})

    def _batch(self, client: Any, dice: random.Random) -> int:
        numbers = [self._next() for _ in range(_BATCH)]
        batch = client.batch_trigger(
            [BatchItem(task="plain", payload={"number": n, "seconds": 0}) for n in numbers]
        )
        for run, number in zip(client.batches.retrieve(batch.id).runs, numbers, strict=False):
            self.accepted[run] = number
        return _BATCH
