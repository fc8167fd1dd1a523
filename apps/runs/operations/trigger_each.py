"""Accept many runs of which some may be refused: the others are accepted all the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.core.errors import DomainError
from apps.environments.scope import Scope
from apps.runs.operations.trigger import (
    Triggered,
    TriggerRequest,
    refusals,
    trigger_runs,
)


def trigger_each(
    scope: Scope, *, requests: Sequence[TriggerRequest], now: datetime
) -> list[Triggered | DomainError]:
    """What became of each request, in order; the caller is in a transaction.

    All at once; when one of them is refused, without those that are wrong by themselves; and when
    that is not it, by halves until it is found.
    """
    if not requests:
        return []
    try:
        with transaction.atomic():
            return list(trigger_runs(scope, requests=requests, now=now))
    except DomainError as error:
        if len(requests) == 1:
            return [error]
    refused = refusals(scope, requests=requests)
    if any(refused):
        good = [request for request, no in zip(requests, refused, strict=True) if no is None]
        accepted = iter(trigger_each(scope, requests=good, now=now))
        return [no if no is not None else next(accepted) for no in refused]
    middle = len(requests) // 2
    return [
        *trigger_each(scope, requests=requests[:middle], now=now),
        *trigger_each(scope, requests=requests[middle:], now=now),
    ]
