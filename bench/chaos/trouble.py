"""Everything that goes wrong, one thing after another, by the dice."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from bench.chaos.stage import LEASE, Stage


@dataclass(slots=True)
class Trouble:
    """Does one harm after another until it is stopped; then all is whole again."""

    stage: Stage
    seed: int
    tell: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    _end: threading.Event = field(default_factory=threading.Event)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def until(self, deadline: float) -> None:
        harms = [
            self.stop_postgres, self.kill_postgres, self.kill_redis, self.flush_redis,
            self.kill_worker, self.kill_worker, self.freeze_worker, self.kill_engine, self.kill_web,
            self.kill_platform, self.cut_to_server, self.cut_to_worker, self.reset_connections,
        ]  # fmt: skip
        while time.monotonic() < deadline:
            harm = self._dice.choice(harms)
            self.tell(harm.__name__.replace("_", " "))
            self.done[harm.__name__] += 1
            harm()
            self._end.wait(self._dice.uniform(2, 8))
        self.stage.proxy.heal()

    def stop_postgres(self) -> None:
        """An immediate shutdown: crash recovery follows."""
        self.stage.kill("postgres", signal.SIGQUIT)

    def kill_postgres(self) -> None:
        self.stage.kill("postgres")

    def kill_redis(self) -> None:
        self.stage.kill("redis")

    def flush_redis(self) -> None:
        try:
            with redis.Redis.from_url(self.stage.supervisor.environment["REDIS_URL"]) as client:
                client.flushall()
        except redis.RedisError:
            return  # it is away: as empty as can be

    def kill_worker(self) -> None:
        self._dice.choice(self.stage.workers).signal(signal.SIGKILL)

    def freeze_worker(self) -> None:
        """Stopped beyond its lease: it comes back believing that its runs are its own."""
        worker = self._dice.choice(self.stage.workers)
        worker.signal(signal.SIGSTOP)
        self._end.wait(LEASE + self._dice.uniform(1, 5))
        worker.signal(signal.SIGCONT)

    def kill_engine(self) -> None:
        self.stage.kill("engine")

    def kill_web(self) -> None:
        self.stage.kill("web")

    def kill_platform(self) -> None:
        self.stage.kill("platform")
        self.stage.kill("beat")

    def cut_to_server(self) -> None:
        self.stage.proxy.cut("to_server")
        self._end.wait(self._dice.uniform(2, LEASE * 1.5))
        self.stage.proxy.heal()

    def cut_to_worker(self) -> None:
        self.stage.proxy.cut("to_worker")
        self._end.wait(self._dice.uniform(2, LEASE * 1.5))
        self.stage.proxy.heal()

    def reset_connections(self) -> None:
        self.stage.proxy.reset()
