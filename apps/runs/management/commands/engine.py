"""`manage.py engine`: the duties, for ever; any number of them may run."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from prometheus_client import start_http_server

from apps.core import clock, metrics
from apps.core import duties as others
from apps.runs.limits import limits
from apps.runs.operations import duties

_SLOW_EVERY = 10
_OUTAGE_GRACE_BEATS = 2
_LONGEST_TURN = 2.0

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Run the engine's duties until SIGTERM: promote due work, expire, rescue leases, prune."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--metrics-port", type=int, metavar="PORT", help="show metrics there")
        parser.add_argument("--metrics-host", default="127.0.0.1", metavar="ADDRESS")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["metrics_port"] is not None:
            _show_metrics(options["metrics_host"], options["metrics_port"])
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Engine().run(stop)


def _show_metrics(host: str, port: int) -> None:
    try:
        start_http_server(port, host)
    except OSError as error:
        raise CommandError(f"No metrics can be shown on {host}:{port}: {error}") from error


def _duties(is_slow: bool) -> tuple[duties.Duty, ...]:
    own = (*duties.FAST, *(duties.SLOW if is_slow else ()))
    return (*own, *others.fast(), *(others.slow() if is_slow else ()))


class Engine:
    """Ticks through the duties; a duty that fails is logged and tried again at the next tick.

    Leases are rescued only while this engine has seen PostgreSQL for two beat intervals without a
    break: right after an outage every lease looks expired although its worker is well.

    A duty that has nothing to do, as a look tells, is left out until the next slow tick. One that
    no look tells of is performed at every tick.
    """

    def __init__(self) -> None:
        self._ticks = 0
        self._seen_since: float | None = None

    def run(self, stop: threading.Event) -> None:
        log.info("the engine runs")
        while not stop.is_set():
            began = time.monotonic()
            self.tick()
            pause = limits().duty_seconds * random.uniform(0.8, 1.2)  # noqa: S311 -- not a secret
            stop.wait(max(0.0, pause - (time.monotonic() - began)))
        connection.close()
        log.info("the engine has stopped")

    def tick(self) -> None:
        is_slow = self._ticks % _SLOW_EVERY == 0
        self._ticks += 1
        needless = set() if is_slow else self._needless()
        for duty in _duties(is_slow):
            if duty.__name__ in needless or (duty is duties.rescue and not self._may_rescue()):
                continue
            self._perform(duty)

    def _needless(self) -> set[str]:
        """The duties with nothing to do; none when that cannot be told: they say themselves why."""
        now = clock.now()
        try:
            told = [look(now) for look in (duties.look, *others.looks())]
        except DatabaseError:
            return set()
        self._seen()
        return {name for tells in told for name, is_due in tells.items() if not is_due}

    def _may_rescue(self) -> bool:
        grace = limits().beat_seconds * _OUTAGE_GRACE_BEATS
        return self._seen_since is not None and time.monotonic() - self._seen_since >= grace

    def _perform(self, duty: duties.Duty) -> None:
        name = duty.__name__
        try:
            with metrics.duty_seconds.labels(name).time():
                began = time.monotonic()
                # a duty with much to do leaves room for the others, which may be urgent
                while self._bite(duty) >= duties.BITE and time.monotonic() - began < _LONGEST_TURN:
                    pass
        except Exception:
            log.exception("a duty failed", extra={"duty": name})
            metrics.duty_failures.labels(name).inc()
            connection.close()
            self._seen_since = None
        else:
            self._seen()

    def _seen(self) -> None:
        """PostgreSQL has answered."""
        if self._seen_since is None:
            self._seen_since = time.monotonic()

    def _bite(self, duty: duties.Duty) -> int:
        moved = duty(clock.now())
        if duty is duties.rescue:
            metrics.leases_rescued.inc(moved)
        return moved
