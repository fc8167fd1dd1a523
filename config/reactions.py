"""Who listens to which fact: the one table of the whole system."""

from __future__ import annotations

from apps.core.facts import Listener

REACTIONS: dict[type, tuple[Listener, ...]] = {}
