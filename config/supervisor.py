"""Keeps programs running: in order, restarted with backoff, and stopped in reverse order.

One thread starts them all and lives until the end, because the kernel ends a child when the
thread that started it is gone: that is what leaves no orphan behind a killed supervisor.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from signal import SIGKILL

from config.stores.errors import StoreError, from_os
from config.stores.home import Home
from config.stores.process import Child, Program, at_once
from config.supervisor_undertaker import TOKEN_VARIABLE, Undertaker

_TICK_SECONDS, _CALM_SECONDS = 0.05, 0.25
_LOG_SECONDS = 5.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_STEADY_SECONDS = 30.0  # a run of this length forgives the failures before it


class Stage(enum.Enum):
    """Where a program stands."""

    WAITING = "waiting"  # for others, or for its next try
    STARTING = "starting"
    READY = "ready"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the supervisor's story."""

    at: datetime
    name: str
    text: str


Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Report nothing."""


class Supervised:
    """A program, its present child, and how often it has failed of late."""

    def __init__(self, program: Program, child: Child) -> None:
        self.program = program
        self.child = child
        self.stage = Stage.WAITING
        self.failures = 0
        self.next_try = 0.0
        self.started = 0.0
        self.has_been_ready = False

    @property
    def is_settled(self) -> bool:
        """Whether those that wait for it may go on."""
        return self.stage in {Stage.READY, Stage.DONE}

    def delay(self) -> float:
        """How long to wait before the next try."""
        return float(min(_FIRST_DELAY * 2 ** max(self.failures - 1, 0), _LONGEST_DELAY))


class Supervisor:
    """Runs programs below one home until it is stopped."""

    def __init__(
        self,
        home: Home,
        programs: Sequence[Program],
        *,
        report: Report = ignore,
        environment: Mapping[str, str] | None = None,
        held: ExitStack | None = None,
    ) -> None:
        self.home = home
        self.environment = dict(environment or {})  # what a client of these programs should have
        self.failure: str | None = None
        self._report = report
        self._held = held or ExitStack()  # locks and sockets, given back at the end
        self._undertaker = Undertaker()
        self._all = [self._supervised(each) for each in programs]
        self._by_name = {each.program.name: each for each in self._all}
        self._has_ended = False
        self._stop_asked = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._logs_checked = 0.0

    @property
    def url(self) -> str:
        """Where the web process answers."""
        return self.environment.get("SERVER_URL", "")

    @property
    def pids(self) -> dict[str, int]:
        """The process of each program that runs now."""
        return {each.program.name: each.child.pid for each in self._all if each.child.is_running}

    @property
    def is_ready(self) -> bool:
        """Whether all that must run does, this moment."""
        needed = (each for each in self._all if not each.program.is_optional)
        return all(each.is_settled for each in needed)

    @property
    def is_stopping(self) -> bool:
        return self._stop_asked.is_set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; `wait_ready` tells when everything runs."""
        self.home.make()
        self._undertaker.start()
        self._thread.start()

    def wait_ready(self, timeout: float | None = 120.0) -> None:
        """Block until everything is ready; raises StoreError when that fails, ends or is late."""
        with self._changed:
            settled = self._changed.wait_for(self._is_decided, timeout)
        if self.failure is not None or self._has_ended:
            raise StoreError(self.failure or "Stopped before everything was ready")
        if not settled:
            late = [each.program.name for each in self._all if not each.is_settled]
            raise StoreError(f"Not ready after {timeout:g} s: {', '.join(late)}")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until everything has ended; False when `timeout` comes first."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Begin to stop, without waiting for it; safe in a signal handler."""
        self._stop_asked.set()

    def stop(self) -> None:
        """Stop everything in reverse order and wait for it."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join()

    def hurry(self) -> None:
        """End all but the stores at once, so that a stop under way need not wait for them."""
        for each in self._all:
            if not each.program.is_store:
                each.child.signal_group(SIGKILL)

    def _supervised(self, program: Program) -> Supervised:
        # Stores start nothing that outlives them, and end in an order of their own.
        mark = {} if program.is_store else {TOKEN_VARIABLE: self._undertaker.token}
        return Supervised(program, Child(program, self.home, mark))

    def _is_decided(self) -> bool:
        return self._has_ended or self.is_ready

    def _run(self) -> None:
        try:
            while not self._stop_asked.wait(self._pause()):
                for each in self._all:
                    self._step(each)
                self._bound_logs()
        except StoreError as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = str(from_os(error, self.home.path))
        finally:
            self._stop_all()
            self._undertaker.stop()
            self._held.close()
            self._has_ended = True
            self._notify()

    def _pause(self) -> float:
        is_calm = all(each.is_settled for each in self._all)
        return _CALM_SECONDS if is_calm else _TICK_SECONDS

    def _step(self, each: Supervised) -> None:
        if each.stage is Stage.DONE:
            return
        if each.stage is Stage.WAITING:
            self._start_when_due(each)
        elif not each.child.is_running:
            self._ended(each)
        elif each.stage is Stage.STARTING:
            self._check_ready(each)
        elif each.failures and time.monotonic() - each.started > _STEADY_SECONDS:
            each.failures = 0

    def _start_when_due(self, each: Supervised) -> None:
        if time.monotonic() < each.next_try or not self._may_start(each.program):
            return
        each.child.start()
        each.started = time.monotonic()
        each.stage = Stage.STARTING
        self._tell(each, f"started (process {each.child.pid})")

    def _may_start(self, program: Program) -> bool:
        """Whether all that it comes after have been ready once; later they come back alone."""
        others = (self._by_name[name] for name in program.after if name in self._by_name)
        return all(other.has_been_ready for other in others)

    def _check_ready(self, each: Supervised) -> None:
        if each.program.runs_once:
            return  # ready when it has ended
        if each.program.is_ready():
            each.program.provision()
            self._settle(each, Stage.READY)
            if each.program.is_ready is not at_once:
                took = time.monotonic() - each.started
                self._tell(each, f"ready after {took:.1f} s")
        elif time.monotonic() - each.started > each.program.ready_seconds:
            each.child.kill()
            self._tell(each, f"killed: not ready after {each.program.ready_seconds:g} s")

    def _ended(self, each: Supervised) -> None:
        if each.program.runs_once and each.child.exit_code == 0:
            self._settle(each, Stage.DONE)
            self._tell(each, "done")
            return
        reason = each.child.failure()
        must_work = each.program.runs_once or each.program.is_store
        if must_work and not each.program.is_optional and not each.has_been_ready:
            raise StoreError(reason)
        each.child.kill()  # what its group may have left
        each.failures += 1
        each.stage = Stage.WAITING
        each.next_try = time.monotonic() + each.delay()
        told = reason.removeprefix(f"{each.program.name} ")
        self._tell(each, f"{told}; next try in {each.delay():g} s")

    def _settle(self, each: Supervised, stage: Stage) -> None:
        each.stage = stage
        each.has_been_ready = True
        self._notify()

    def _stop_all(self) -> None:
        self._undertaker.ask_strays({each.child.pid for each in self._all})
        for are_stores in (False, True):  # what uses the stores ends before them
            layer = [each for each in reversed(self._all) if each.program.is_store is are_stores]
            running = [each for each in layer if each.child.is_running]
            for each in running:
                each.child.ask_to_stop()
            for each in layer:
                each.child.finish()
            for each in running:
                self._tell(each, "stopped")

    def _bound_logs(self) -> None:
        if time.monotonic() - self._logs_checked > _LOG_SECONDS:
            self._logs_checked = time.monotonic()
            for each in self._all:
                each.child.bound_log()

    def _tell(self, each: Supervised, text: str) -> None:
        self._report(Event(at=datetime.now(UTC), name=each.program.name, text=text))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
