"""One turn of a coordinator: apply what workers reported, then claim what they can take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import OperationalError, connection
from psycopg import errors

from apps.core.transactions import retried
from apps.runs.limits import limits
from apps.runs.operations.claim import Claimed, Offer, claim, claim_patiently, without
from apps.runs.operations.reports import Answer, Report
from apps.runs.operations.settle import settle


def exchange(reports: Sequence[Report], offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    """Settle and claim in one transaction: the commit that frees a place fills it again.

    The answers must be sent only after this returns; by then they are true. An environment that
    another process had is claimed from in a second transaction, which may wait for it.
    """
    settled, claimed = _settle_and_claim(reports, offers, now=now)
    answers = settled + claimed.answers
    busy = [offer for offer in offers if offer.environment_id in claimed.busy]
    if busy and not connection.in_atomic_block:
        answers += _claim_again(without(busy, claimed.answers), now=now)
    return answers


@retried
def _settle_and_claim(
    reports: Sequence[Report], offers: Sequence[Offer], *, now: datetime
) -> tuple[list[Answer], Claimed]:
    return settle(reports, now=now), claim(offers, now=now)


def _claim_again(offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    """What had to be skipped; an environment that stays busy comes with the next turn."""
    try:
        return _claim_patiently(offers, now=now)
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            return []
        raise


@retried
def _claim_patiently(offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)",
            [f"{limits().claim_wait_seconds * 1000:.0f}ms"],
        )
    return claim_patiently(offers, now=now)
