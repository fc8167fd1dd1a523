"""Statements that several operations share: the locks of waitpoints, the release of leases."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from apps.core import sql


def lock_waitpoints(*, runs: Sequence[UUID], named: Sequence[UUID] = ()) -> None:
    """Lock what the ends of these runs complete, and the waitpoints named, before any run."""
    sql.rows(sql.load("runs", "lock_waitpoints"), {"runs": list(runs), "named": list(named)})


def release_leases(runs: Sequence[UUID], *, keep: bool) -> None:
    """Give the slots of these runs back, and their leases too unless they are to `keep` them."""
    sql.execute(sql.load("runs", "release_leases"), {"runs": list(runs), "keep": keep})
