"""Accept runs of many callers in one transaction, each failing alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from apps.core.transactions import retried
from apps.environments.scope import Scope
from apps.runs.operations.at_hand import NOTHING, Hand, places_at_hand
from apps.runs.operations.claim import claim
from apps.runs.operations.queueing import announce_ready
from apps.runs.operations.trigger import Triggered, TriggerRequest, trigger_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call: who asks, and for what."""

    scope: Scope
    request: TriggerRequest


def trigger_together(asked: Sequence[Asked], *, now: datetime) -> list[Triggered | Exception]:
    """Accept each call, or say why not; what was accepted is committed when this returns.

    A group that fails is tried in halves until those that cannot be accepted stand alone.
    """
    if not asked:
        return []
    try:
        return [_alone(asked[0], now=now)] if len(asked) == 1 else list(_all(asked, now=now))
    except (OperationalError, InterfaceError) as error:
        # the database's fault, not that of one of them
        return [error] * len(asked)
    except Exception as error:  # any bug that one of them hits
        if len(asked) == 1:
            return [error]
    middle = len(asked) // 2
    return [
        *trigger_together(asked[:middle], now=now),
        *trigger_together(asked[middle:], now=now),
    ]


def _alone(asked: Asked, *, now: datetime) -> Triggered:
    """Accept a call that came alone; a worker of this process that is free gets its run at once."""
    with places_at_hand(asked.scope.environment_id) as hand:
        return _at_once(asked, hand, now=now)


@retried
def _at_once(asked: Asked, hand: Hand, *, now: datetime) -> Triggered:
    transaction.on_commit(hand.fill, robust=True)  # before anything that tells others
    hand.claimed = NOTHING
    made_ready: list[UUID] = []
    [triggered] = trigger_runs(
        asked.scope, requests=[asked.request], now=now, announce=made_ready.append
    )
    if made_ready and hand.offers:
        # it waits for nobody: what another has, and what goes to others, is left to the turns
        hand.claimed = claim(hand.offers, now=now)
    if not any(answer.starts(triggered.run_id) for answer in hand.claimed.answers):
        for environment_id in made_ready:
            announce_ready(environment_id)
    return triggered


@retried
def _all(asked: Sequence[Asked], *, now: datetime) -> list[Triggered]:
    by_scope: dict[Scope, list[int]] = {}
    for place, each in enumerate(asked):
        by_scope.setdefault(each.scope, []).append(place)
    answers: dict[int, Triggered] = {}
    # in one order for all groups, so that two do not wait for each other's locks
    for scope in sorted(by_scope, key=lambda scope: scope.environment_id):
        places = by_scope[scope]
        requests = [asked[place].request for place in places]
        answers |= zip(places, trigger_runs(scope, requests=requests, now=now), strict=True)
    return [answers[place] for place in range(len(asked))]
