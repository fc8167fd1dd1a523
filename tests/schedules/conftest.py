"""Facts as they were told."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core import facts
from apps.schedules.operations import tick


@pytest.fixture
def captured_facts(monkeypatch):
    """The facts of one class that were published since."""
    told: list[Any] = []
    publish = facts.publish

    def note(fact: Any) -> None:
        told.append(fact)
        publish(fact)

    monkeypatch.setattr(tick, "publish", note)
    return lambda kind: [fact for fact in told if isinstance(fact, kind)]
