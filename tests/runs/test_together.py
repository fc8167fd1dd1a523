"""Group commit: calls of many callers are accepted in one transaction, and each fails alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from apps.core.errors import Invalid
from apps.environments.scope import Scope
from apps.runs.models import ReadyRun, Run, RunEvent
from apps.runs.operations.together import Asked, trigger_together
from apps.runs.operations.trigger import Triggered, TriggerRequest
from tests.runs.engine import NOW
from tests.runs.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


def asked(scope: Scope, task: str = "hello", **fields: Any) -> Asked:
    return Asked(scope=scope, request=TriggerRequest(task=task, **fields))


def accepted(*calls: Asked) -> list[Triggered]:
    outcomes = trigger_together(calls, now=NOW)
    assert not [each for each in outcomes if isinstance(each, Exception)]
    return outcomes  # type: ignore[return-value]


@contextmanager
def at_commit(statement: str):
    """Have PostgreSQL do this when a transaction that made a run is about to commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON runs_run "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
        )
    try:
        yield
    finally:
        connection.close()  # it may be broken by now
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION at_commit() CASCADE")


def test_calls_of_one_group_share_a_transaction(acme, worker):
    accepted(asked(acme.scope), asked(acme.scope), asked(acme.scope))

    assert Run.objects.count() == ReadyRun.objects.count() == 3
    assert RunEvent.objects.values("transaction").distinct().count() == 1


def test_so_do_those_of_several_environments_each_with_its_own_run(acme, worker, charlie):
    ours, theirs, other = accepted(asked(acme.scope), asked(charlie.scope), asked(acme.scope))

    environments = dict(Run.objects.values_list("id", "environment_id"))
    assert environments == {
        ours.run_id: acme.production.id,
        theirs.run_id: charlie.production.id,
        other.run_id: acme.production.id,
    }
    assert RunEvent.objects.values("transaction").distinct().count() == 1


def test_a_call_that_is_refused_fails_alone(acme, worker, charlie):
    first, refused, third, fourth = trigger_together(
        [
            asked(acme.scope),
            asked(charlie.scope, version="20990101.1"),
            asked(acme.scope),
            asked(charlie.scope),
        ],
        now=NOW,
    )

    assert isinstance(refused, Invalid)
    assert refused.detail == {"version": ["unknown version"]}
    runs = {each.run_id for each in (first, third, fourth) if isinstance(each, Triggered)}
    assert runs == set(Run.objects.values_list("id", flat=True))
    assert len(runs) == 3


def test_each_of_several_that_are_refused_is_told_its_own_reason(acme, worker):
    outcomes = trigger_together(
        [asked(acme.scope, version="20990101.1"), asked(acme.scope, tags=("x" * 200,))], now=NOW
    )

    assert [sorted(each.detail) for each in outcomes if isinstance(each, Invalid)] == [
        ["version"],
        ["tags"],
    ]
    assert not Run.objects.exists()


def test_one_key_within_a_group_is_one_run(acme, worker):
    first, second, other = accepted(
        asked(acme.scope, idempotency_key="once"),
        asked(acme.scope, idempotency_key="once"),
        asked(acme.scope, idempotency_key="another"),
    )

    assert (first.is_cached, second.is_cached, other.is_cached) == (False, True, False)
    assert first.run_id == second.run_id != other.run_id


def test_a_one_time_token_is_used_once_within_a_group(acme, worker):
    outcomes = trigger_together([asked(acme.scope, token_digest=b"token")] * 2, now=NOW)

    assert isinstance(outcomes[0], Triggered)
    assert isinstance(outcomes[1], Invalid)


def test_nothing_is_accepted_when_the_commit_fails(acme, worker):
    with at_commit("RAISE EXCEPTION 'no'"):
        outcomes = trigger_together([asked(acme.scope)] * 3, now=NOW)

    assert all(isinstance(each, Exception) for each in outcomes)
    assert not Run.objects.exists()


def test_nothing_is_accepted_when_the_connection_ends_before_the_commit(acme, worker):
    with at_commit("PERFORM pg_terminate_backend(pg_backend_pid())"):
        outcomes = trigger_together([asked(acme.scope)] * 3, now=NOW)

    assert [type(each) for each in outcomes] == [OperationalError] * 3
    assert not Run.objects.exists()


def test_an_empty_group_asks_for_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert trigger_together([], now=NOW) == []


def test_the_cost_of_a_group_does_not_grow_with_its_calls(acme, worker):
    accepted(asked(acme.scope))

    with CaptureQueriesContext(connection) as few:
        accepted(*[asked(acme.scope)] * 3)
    with CaptureQueriesContext(connection) as many:
        accepted(*[asked(acme.scope)] * 40)

    assert len(many) == len(few)


def test_groups_that_meet_each_other_in_any_order_all_succeed(acme, worker, charlie):
    def group(*tenants):
        return lambda: accepted(
            *(asked(t.scope, task=f"new-{n}", queue=f"q{n}") for n in range(3) for t in tenants)
        )

    for _ in range(5):
        outcomes = together(
            group(acme, charlie), group(charlie, acme), group(acme), group(charlie, acme)
        )

    assert all(isinstance(each, Triggered) for outcome in outcomes for each in outcome)
    assert Run.objects.count() == 5 * (6 + 6 + 3 + 6)
