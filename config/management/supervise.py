"""What `up` and `stores` share: a line for each event, and an end on Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from django.core.management.base import CommandError

from config.stores.errors import StoreError
from config.supervisor import Event, Supervisor
from config.supervisor_programs import Choice, build

_SIGNAL_SECONDS = 0.2  # signals are handled between waits

Write = Callable[[str], object]


def supervise(choice: Choice, *, write: Write, greeting: Callable[[Supervisor], str]) -> None:
    """Run what was chosen until a signal; raises CommandError with one clear sentence."""

    def report(event: Event) -> None:
        write(f"{event.at.astimezone():%H:%M:%S}  {event.name:<10}  {event.text}")

    try:
        supervisor = build(choice, report=report)
    except StoreError as error:
        raise CommandError(str(error)) from error
    _stop_on_signals(supervisor)
    supervisor.start()
    if _becomes_ready(supervisor):
        write(greeting(supervisor))
    while not supervisor.wait(_SIGNAL_SECONDS):
        pass
    if supervisor.failure:
        raise CommandError(supervisor.failure)


def _becomes_ready(supervisor: Supervisor) -> bool:
    """Whether everything was ready once; False when it ended before."""
    while not supervisor.is_ready and not supervisor.wait(_SIGNAL_SECONDS):
        pass
    return supervisor.is_ready


def _stop_on_signals(supervisor: Supervisor) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        if supervisor.is_stopping:
            supervisor.hurry()  # the second Ctrl-C
        supervisor.ask_to_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
