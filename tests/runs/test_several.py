"""The same operation on several runs: one that is refused holds up no other."""

from __future__ import annotations

import pytest

from apps.core.errors import Forbidden, Invalid
from apps.core.ids import new_id
from apps.orgs.roles import Role
from apps.runs.models import Run
from apps.runs.operations.several import MOST_AT_ONCE, cancel_several, replay_several
from tests import factories
from tests.runs.engine import NOW, get, trigger

pytestmark = pytest.mark.django_db


def test_each_is_canceled_and_the_unknown_is_named(acme, worker, charlie):
    mine = [trigger(acme.scope) for _ in range(2)]
    theirs = trigger(charlie.scope)
    outcome = cancel_several(acme.scope, run_ids=[*mine, theirs, mine[0]], now=NOW)
    assert outcome.done == 2
    assert list(outcome.refused) == [theirs]
    assert [get(run).status for run in mine] == ["CANCELED", "CANCELED"]
    assert get(theirs).status == "QUEUED"


def test_each_is_replayed_in_the_order_of_the_runs(acme, worker):
    old = [trigger(acme.scope, payload=f'"{n}"') for n in range(2)]
    outcome = replay_several(acme.scope, run_ids=old[::-1], now=NOW)
    assert (outcome.done, outcome.refused) == (2, {})
    fresh = Run.objects.filter(replay_of_id__isnull=False).order_by("pk")
    assert [run.replay_of_id for run in fresh] == old


def test_too_many_are_refused_as_a_whole(acme):
    with pytest.raises(Invalid):
        cancel_several(acme.scope, run_ids=[new_id()] * (MOST_AT_ONCE + 1), now=NOW)


@pytest.mark.parametrize("operation", [cancel_several, replay_several])
def test_a_viewer_may_not(acme, worker, operation):
    run = trigger(acme.scope)
    viewer = factories.user_scope(acme.production, factories.person("dora"), Role.VIEWER)
    with pytest.raises(Forbidden):
        operation(viewer, run_ids=[run], now=NOW)
