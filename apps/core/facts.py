"""Facts: what one app tells, after its commit, without knowing who listens.

Delivery is prompt but not durable. Whatever must not be lost also sweeps the RunEvent table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db import transaction

Listener = Callable[[Any], None]

_listeners: dict[type, tuple[Listener, ...]] = {}


def install(table: Mapping[type, Iterable[Listener]]) -> None:
    """Set who listens to what; called once, by the composition root."""
    _listeners.clear()
    _listeners.update({fact: tuple(listeners) for fact, listeners in table.items()})


def publish(fact: object) -> None:
    """Call every listener of this fact's class once the current transaction has committed."""
    for listener in _listeners.get(type(fact), ()):
        transaction.on_commit(_deliver(listener, fact), robust=True)


def _deliver(listener: Listener, fact: object) -> Callable[[], None]:
    # A closure, not functools.partial: Django 5.2 logs a robust hook's error by __qualname__.
    def deliver() -> None:
        listener(fact)

    return deliver
