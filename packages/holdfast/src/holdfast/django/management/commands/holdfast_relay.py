"""``manage.py holdfast_relay``: sends what the outbox has, for ever."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connections
from django.utils import timezone

from holdfast.django.enqueueing import client
from holdfast.django.models import OutboxEntry
from holdfast.django.relay import PORTION, forget_sent, relay, retry_failed

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Start the runs of the outbox until SIGTERM; any number of relays may run."""

    help = "Start the runs of the outbox, each exactly once, until SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the options."""
        parser.add_argument("--database", default="default", help="the database with the outbox")
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between looks")
        parser.add_argument("--once", action="store_true", help="send what waits, and end")
        parser.add_argument("--keep-days", type=float, default=7.0, help="keep what was sent")
        parser.add_argument(
            "--retry-failed", action="store_true", help="try again what the server has refused"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Relay until told to stop."""
        using = options["database"]
        stop = threading.Event()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        if options["retry_failed"]:
            retry_failed(now=timezone.now(), using=using)
        while not stop.is_set():
            is_more = self._turn(using, timedelta(days=options["keep_days"]))
            if options["once"] and not is_more:
                break
            if not is_more:
                stop.wait(options["interval"])
        self._report(using)

    def _turn(self, using: str, kept: timedelta) -> bool:
        try:
            sent = relay(client(), clock=timezone.now, using=using)
            forget_sent(before=timezone.now() - kept, using=using)
        except DatabaseError:
            log.exception("the outbox cannot be read")
            connections[using].close()
            return False
        return sent >= PORTION

    def _report(self, using: str) -> None:
        entries = OutboxEntry.objects.using(using)
        waiting = entries.filter(sent_at=None, failed_at=None).count()
        failed = entries.filter(failed_at__isnull=False).count()
        self.stdout.write(f"{waiting} wait, {failed} were refused")
