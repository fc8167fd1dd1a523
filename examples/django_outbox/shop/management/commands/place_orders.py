"""`manage.py place_orders Paris Oslo`: one order per city."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop.orders import place_order


class Command(BaseCommand):
    """Place one order per city; what cannot be placed leaves nothing behind."""

    help = "Place one order per city."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cities", nargs="+")

    def handle(self, *args: Any, **options: Any) -> None:
        for city in options["cities"]:
            try:
                self.stdout.write(str(place_order(city)))
            except ValueError as error:
                self.stderr.write(f"{city}: {error}")
