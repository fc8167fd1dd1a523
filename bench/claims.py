"""The claim by itself: what a backlog behind blocked keys costs it, and how fair it is.

`python -m bench.claims` runs in the environment of a server's database, prints one JSON object, and
leaves nothing behind: all happens in one transaction that is rolled back.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection, transaction  # noqa: E402 -- needs the app registry

from apps.core import clock  # noqa: E402
from apps.deployments.models import Promotion  # noqa: E402
from apps.environments.models import Environment  # noqa: E402
from apps.environments.scope import Scope  # noqa: E402
from apps.orgs.actors import SYSTEM  # noqa: E402
from apps.runs.operations.claim import Offer, claim  # noqa: E402
from apps.runs.operations.trigger import TriggerRequest, trigger_runs  # noqa: E402
from holdfast.protocol import Execute  # noqa: E402

BACKLOG = 1_000_000
KEYS = 10_000
TENANTS = 9
_ROUNDS = 200

_BLOCKED = """
WITH queue AS (
    INSERT INTO runs_queueslots (environment_id, queue, key_cap, used, is_open, is_paused, weight,
                                 turn, clock, rate_used, key_weights)
    VALUES (%(environment)s, 'blocked', 1, 0, true, false, 1, 0, 0, 0, '{}')
    RETURNING id
),
lane AS (
    INSERT INTO runs_lane (environment_id, slots_id, queue, key, task, cap, used, is_open, weight,
                           turn, rate_used, served_at)
    SELECT %(environment)s, queue.id, 'blocked', 'k' || n, '', 1, 1, true, 1, 0, 0, now()
    FROM queue, generate_series(1, %(keys)s) AS n
    RETURNING id
)
INSERT INTO runs_readyrun (run_id, environment_id, lane_id, machine, order_at)
SELECT gen_random_uuid(), %(environment)s, lane.id, 'small-1x', now()
FROM lane, generate_series(1, %(each)s)
"""


def main() -> None:
    promotion = Promotion.objects.select_related("environment").latest("promoted_at")
    with transaction.atomic():
        bench = _Bench(promotion.environment, promotion.version_id)
        found = bench.blocked() | bench.fairness()
        transaction.set_rollback(True)
    print(json.dumps(found))


class _Bench:
    """One environment, and a worker in it that only claims."""

    def __init__(self, environment: Environment, version_id: UUID) -> None:
        self._environment, self._version_id = environment, version_id
        self._scope = Scope(
            actor=SYSTEM,
            organization_id=environment.organization_id,
            project_id=environment.project_id,
            environment_id=environment.pk,
        )
        Environment.objects.filter(pk=environment.pk).update(concurrency_limit=1_000_000)

    def blocked(self) -> dict[str, float]:
        """The median of a claim that takes one run, with and without a backlog of blocked keys."""
        self._one()  # makes what is made once
        empty = _median(self._one)
        with connection.cursor() as cursor:
            cursor.execute(
                _BLOCKED,
                {"environment": self._environment.pk, "keys": KEYS, "each": BACKLOG // KEYS},
            )
            cursor.execute("ANALYZE runs_readyrun, runs_lane, runs_queueslots")
        full = _median(self._one)
        return {
            "claim_empty_ms": round(empty, 3),
            "claim_blocked_ms": round(full, 3),
            "claim_blocked_ratio": round(full / empty, 3),
        }

    def _one(self) -> float:
        now = clock.now()
        trigger_runs(self._scope, requests=[TriggerRequest(task="noop", ttl=None)], now=now)
        began = time.perf_counter()
        claim([self._offer(free=10)], now=now)
        return (time.perf_counter() - began) * 1000

    def fairness(self) -> dict[str, float]:
        """Jain's index over nine keys, one of which has brought 100 times as much."""
        self._fill("big", 100 * 100)
        for number in range(1, TENANTS):
            self._fill(f"small{number}", 100)
        served: Counter[str] = Counter()
        while served.total() < 50 * TENANTS:
            for answer in claim([self._offer(free=5)], now=clock.now()).answers:
                if isinstance(answer.message, Execute):
                    served[answer.message.context["queue"]["concurrencyKey"]] += 1
        counts = list(served.values())
        index = sum(counts) ** 2 / (TENANTS * sum(count**2 for count in counts))
        return {"claim_jain_index": round(index, 4)}

    def _fill(self, key: str, count: int) -> None:
        request = TriggerRequest(task="noop", queue="tenants", concurrency_key=key)
        for _ in range(0, count, 1_000):
            requests = [request] * min(count, 1_000)
            trigger_runs(self._scope, requests=requests, now=clock.now())

    def _offer(self, *, free: int) -> Offer:
        return Offer(
            session_id=uuid4(),
            environment_id=self._environment.pk,
            version_id=self._version_id,
            machine="",
            free=free,
        )


def _median(step: Callable[[], float]) -> float:
    return statistics.median(step() for _ in range(_ROUNDS))


if __name__ == "__main__":
    main()
