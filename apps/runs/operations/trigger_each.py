"""Accept many runs of which some may be refused: the others are accepted all the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from apps.core.errors import DomainError
from apps.environments.scope import Scope
from apps.runs.operations.trigger import Triggered, TriggerRequest, trigger_runs


def trigger_each(
    scope: Scope, *, requests: Sequence[TriggerRequest], now: datetime
) -> list[Triggered | DomainError]:
    """What became of each request, in order; the caller is in a transaction.

    All at once; by halves when one of them is refused, until it is found.
    """
    if not requests:
        return []
    try:
        with transaction.atomic():
            return list(trigger_runs(scope, requests=requests, now=now))
    except DomainError as error:
        if len(requests) == 1:
            return [error]
    middle = len(requests) // 2
    return [
        *trigger_each(scope, requests=requests[:middle], now=now),
        *trigger_each(scope, requests=requests[middle:], now=now),
    ]
