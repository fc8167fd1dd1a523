"""`manage.py demo`: start everything, ship the example, run it, show and check its report."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from config import demo
from config.stores.errors import StoreError
from holdfast import SyncHoldfastClient


class Command(BaseCommand):
    help = "Show the main job on the embedded stores; stays up until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop when the report is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._show(console, once=options["once"])
        except KeyboardInterrupt:
            console.print("stopped")
        except (StoreError, demo.DemoFailed) as error:
            raise CommandError(str(error)) from error

    def _show(self, console: Console, *, once: bool) -> None:
        began = time.monotonic()
        with demo.everything(Path(settings.HOLDFAST_HOME), console) as supervisor:
            seeded = demo.seed(supervisor)
            console.print("shipping examples/package_audit …")
            version = demo.deploy(supervisor, seeded)
            console.print(f"version [bold]{version}[/bold] is current")
            with SyncHoldfastClient(api_url=supervisor.url, secret_key=seeded.secret_key) as client:
                run = demo.audit(client, console)
                demo.check(client, run)
            demo.show_report(run, console)
            took = time.monotonic() - began
            console.print(f"[green]The report is right[/green], after {took:.1f} s in all.")
            if once:
                return
            link = demo.sign_in_link(supervisor, seeded, run.id)
            console.print("[bold]Look at the run[/bold] (the link signs you in, once):")
            console.print(f"  {link}", soft_wrap=True)
            console.print(f"Holdfast is at [bold]{supervisor.url}[/bold]  (Ctrl-C stops it)")
            console.print(f"  admin    {supervisor.url}/admin/")
            console.print(f"  project  {seeded.project}")
            console.print(f"  key      {seeded.secret_key}")
            login = f"holdfast login --api-url {supervisor.url} --token {seeded.token}"
            console.print(f"  terminal {login}", soft_wrap=True)
            while not supervisor.wait(timeout=1.0):
                pass
