"""One turn of a coordinator: apply what workers reported, then claim what they can take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apps.core.transactions import retried
from apps.runs.operations.claim import Offer, claim
from apps.runs.operations.reports import Answer, Report
from apps.runs.operations.settle import settle


@retried
def exchange(reports: Sequence[Report], offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    """Settle and claim in one transaction: the commit that frees a place fills it again.

    The answers must be sent only after this returns; by then they are true.
    """
    return settle(reports, now=now) + claim(offers, now=now)
