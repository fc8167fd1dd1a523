"""One turn of a coordinator: apply what workers reported, then claim what they can take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import OperationalError, connection
from psycopg import errors

from apps.core.transactions import retried
from apps.runs.limits import limits
from apps.runs.operations.claim import (
    Claimed,
    Offer,
    claim,
    claim_patiently,
    is_anything_ready,
    without,
)
from apps.runs.operations.reports import Answer, Report
from apps.runs.operations.settle import settle


def exchange(reports: Sequence[Report], offers: Sequence[Offer], *, now: datetime) -> list[Answer]:
    """The answers of one turn."""
    return take_turn(reports, offers, now=now).answers


def take_turn(
    reports: Sequence[Report], offers: Sequence[Offer], *, now: datetime, is_likely: bool = True
) -> Claimed:
    """Settle and claim in one transaction: the commit that frees a place fills it again.

    The answers, those to the reports first, must be sent only after this returns; by then they are
    true. An environment that another process had is claimed from in a second transaction, which may
    wait for it. Unless it `is_likely` that something can start, it is looked first whether anything
    is ready at all.
    """
    settled, claimed = _settle_and_claim(reports, offers, is_likely=is_likely, now=now)
    answers, moments = settled + claimed.answers, [claimed.free_at]
    busy = [offer for offer in offers if offer.environment_id in claimed.busy]
    if busy and not connection.in_atomic_block:
        again = _claim_again(without(busy, claimed.answers), now=now)
        answers += again.answers
        moments.append(again.free_at)
    free_at = min((moment for moment in moments if moment), default=None)
    return Claimed(answers=answers, free_at=free_at)


@retried
def _settle_and_claim(
    reports: Sequence[Report], offers: Sequence[Offer], *, is_likely: bool, now: datetime
) -> tuple[list[Answer], Claimed]:
    settled = settle(reports, now=now)
    if is_likely or is_anything_ready(offers):
        return settled, claim(offers, now=now)
    return settled, Claimed(answers=[])


def _claim_again(offers: Sequence[Offer], *, now: datetime) -> Claimed:
    """What had to be skipped; an environment that stays busy comes with the next turn."""
    try:
        return _claim_patiently(offers, now=now)
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            return Claimed(answers=[])
        raise


@retried
def _claim_patiently(offers: Sequence[Offer], *, now: datetime) -> Claimed:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)",
            [f"{limits().claim_wait_seconds * 1000:.0f}ms"],
        )
    return claim_patiently(offers, now=now)
