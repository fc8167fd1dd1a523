"""Make a link that signs somebody in, for whoever runs the server: no mail is needed for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.operations.links import one_time_link
from apps.accounts.policy import LINK_LIFETIME
from apps.accounts.queries import find_person
from apps.core import clock


class Command(BaseCommand):
    help = "Print a link that signs somebody in, once."

    def add_arguments(self, parser: CommandParser) -> None:
        minutes = LINK_LIFETIME // timedelta(minutes=1)
        parser.add_argument("email", help="the address of a person who is known here")
        parser.add_argument("--next", default="", metavar="PATH", help="where it leads to")
        parser.add_argument("--minutes", type=int, default=minutes, help="how long it works")

    def handle(self, *args: Any, **options: Any) -> None:
        person = find_person(options["email"].strip().lower())
        if person is None:
            raise CommandError(f"There is nobody with the address {options['email']}")
        if options["minutes"] < 1:
            raise CommandError("A link works for at least one minute")
        lifetime = timedelta(minutes=options["minutes"])
        url = one_time_link(person, now=clock.now(), next_path=options["next"], lifetime=lifetime)
        self.stdout.write(url)
