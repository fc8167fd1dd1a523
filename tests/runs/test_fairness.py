"""Fairness: who has much waiting takes nothing from who has little, and weights are kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from apps.deployments.models import Queue
from apps.environments.models import Environment
from apps.environments.operations.life import change_limits
from apps.orgs.models import Organization
from apps.orgs.roles import Role
from apps.runs.operations.exchange import exchange
from apps.runs.operations.trigger import TriggerRequest, trigger_runs
from tests import factories
from tests.runs.engine import NOW, Worker, completed, later, trigger, version

pytestmark = pytest.mark.django_db


def fill(scope, counts, **options):
    """So many runs of each key, those of the first key first."""
    requests = [
        TriggerRequest(task="hello", concurrency_key=key or None, **options)
        for key, count in counts.items()
        for _ in range(count)
    ]
    trigger_runs(scope, requests=requests, now=NOW)


def served(worker, rounds, *, free):
    """How many runs of each key are executed by a worker that takes and ends them."""
    seen: Counter[str] = Counter()
    for turn in range(rounds):
        works = worker.claim(free=free, now=later(turn))
        seen.update(work.context["queue"]["concurrencyKey"] for work in works)
        worker.say(*[completed(work) for work in works], now=later(turn))
    return seen


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


@pytest.mark.parametrize("free", [1, 3, 16])
def test_a_key_with_a_hundred_times_as_much_gets_the_same(acme, worker, free):
    small = {f"small{n}": 40 for n in range(8)}
    fill(acme.scope, {"big": 800} | small)
    seen = served(worker, 180 // free, free=free)
    assert len(seen) == 9
    assert jain(list(seen.values())) >= 0.99


def test_the_first_run_of_a_key_passes_a_backlog(acme, worker):
    fill(acme.scope, {"big": 500})
    served(worker, 5, free=10)
    trigger(acme.scope, concurrency_key="new", now=later(10))
    (work, *_) = worker.claim(free=2, now=later(11))
    keys = [work.context["queue"]["concurrencyKey"]]
    keys += [w.context["queue"]["concurrencyKey"] for w in worker.claim(free=2, now=later(12))]
    assert "new" in keys


def test_a_key_that_was_idle_does_not_catch_up(acme, worker):
    fill(acme.scope, {"busy": 200})
    served(worker, 10, free=10)
    fill(acme.scope, {"late": 100})
    seen = served(worker, 20, free=2)
    assert abs(seen["busy"] - seen["late"]) <= 1


def test_keys_are_served_by_their_weights(acme, worker):
    Queue.objects.create(
        environment=acme.production, name="q", key_weights={"gold": 3}, created_at=NOW
    )
    fill(acme.scope, {"gold": 100, "tin": 100}, queue="q")
    assert served(worker, 20, free=2) == {"gold": 30, "tin": 10}


def test_queues_are_served_by_their_weights(acme):
    worker = Worker(version(acme.production, "hello"))
    for name, weight in (("heavy", 4), ("light", 1)):
        Queue.objects.create(
            environment=acme.production, name=name, weight=weight, created_at=NOW
        )  # fmt: skip
        fill(acme.scope, {name: 100}, queue=name)
    assert served(worker, 25, free=2) == {"heavy": 40, "light": 10}


def test_a_queue_with_many_keys_counts_as_one(acme, worker):
    fill(acme.scope, {f"k{n}": 4 for n in range(25)}, queue="many")
    fill(acme.scope, {"one": 100}, queue="one")
    seen = served(worker, 20, free=2)
    assert seen["one"] == 20


def test_environments_take_turns_below_their_organizations_limit(acme, worker):
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=1)
    staging = Worker(version(acme.staging, "hello"))
    fill(acme.scope, {"": 30})
    fill(factories.key_scope(acme.staging), {"": 3})
    order = []
    for turn in range(6):
        for name, one in (("production", worker), ("staging", staging)):
            works = one.claim(free=1, now=later(turn))
            order += [name] * len(works)
            one.say(*[completed(work) for work in works], now=later(turn))
    assert Counter(order[:6]) == {"production": 3, "staging": 3}


def test_one_claim_for_all_environments_goes_by_their_weights(acme, worker):
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=4)
    staging = Worker(version(acme.staging, "hello"))
    fill(acme.scope, {"": 30})
    fill(factories.key_scope(acme.staging), {"": 30})
    Environment.objects.filter(pk=acme.production.pk).update(weight=3)
    answers = exchange([], [worker.offer(), staging.offer()], now=NOW)
    assert Counter(answer.session_id for answer in answers) == {
        worker.session_id: 3,
        staging.session_id: 1,
    }


@pytest.fixture
def rivals(acme, worker, charlie):
    """Two organizations with more waiting than places, and more places than one claim fills."""
    fill(acme.scope, {"": 130})
    fill(charlie.scope, {"": 130})
    return {"acme": worker, "globex": Worker(charlie.production.promotion.version)}


def started(workers, claims):
    """How many runs of each worker are executed, while one server claims for all at once."""
    seen: Counter[str] = Counter()
    names = {one.session_id: name for name, one in workers.items()}
    for turn in range(claims):
        answers = exchange([], [one.offer() for one in workers.values()], now=later(turn))
        seen.update(names[answer.session_id] for answer in answers)
        for name, one in workers.items():
            works = [a.message for a in answers if names[a.session_id] == name]
            one.say(*[completed(work) for work in works], now=later(turn))
    return seen


def weigh(organization, weight):
    Organization.objects.filter(pk=organization.pk).update(weight=weight)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_organizations_are_served_by_their_weights(acme, rivals, settings, batch):
    settings.LIMITS = replace(settings.LIMITS, claim_batch=batch)
    assert started(rivals, 16 // batch) == {"acme": 8, "globex": 8}
    weigh(acme.organization, 3)  # holds from the next claim on
    assert started(rivals, 48 // batch) == {"acme": 36, "globex": 12}
    weigh(acme.organization, 1)
    assert started(rivals, 16 // batch) == {"acme": 8, "globex": 8}


def test_an_organization_with_many_environments_counts_as_one(acme, rivals, settings):
    settings.LIMITS = replace(settings.LIMITS, claim_batch=6)
    rivals["staging"] = Worker(version(acme.staging, "hello"))
    fill(factories.key_scope(acme.staging), {"": 100})
    assert started(rivals, 10) == {"acme": 15, "staging": 15, "globex": 30}


def test_environments_are_served_by_their_weights(acme, worker, settings):
    settings.LIMITS = replace(settings.LIMITS, claim_batch=2)
    workers = {"production": worker, "staging": Worker(version(acme.staging, "hello"))}
    for environment in (acme.production, acme.staging):
        fill(factories.key_scope(environment), {"": 40})
    owner = factories.user_scope(acme.production, acme.owner, Role.OWNER)
    change_limits(owner, weight=3.0, now=NOW)
    assert started(workers, 16) == {"production": 24, "staging": 8}


def test_an_organization_that_was_idle_does_not_catch_up(acme, worker, charlie, settings):
    settings.LIMITS = replace(settings.LIMITS, claim_batch=2)
    fill(acme.scope, {"": 130})
    workers = {"acme": worker, "globex": Worker(charlie.production.promotion.version)}
    assert started(workers, 20) == {"acme": 40}
    fill(charlie.scope, {"": 100})
    assert started(workers, 10) == {"acme": 10, "globex": 10}


def test_an_organization_with_much_takes_no_turn_of_another(acme, worker, charlie):
    Environment.objects.update(concurrency_limit=1_000)
    fill(acme.scope, {"": 500})
    fill(charlie.scope, {"": 3})
    theirs = Worker(charlie.production.promotion.version, free=300)
    worker.free = 300
    answers = exchange([], [worker.offer(), theirs.offer()], now=NOW)
    assert Counter(a.session_id for a in answers)[theirs.session_id] == 3


def test_runs_for_another_version_do_not_hold_up_those_behind_them(acme):
    old = version(acme.production, "hello")
    fill(acme.scope, {f"k{n}": 1 for n in range(80)}, version=old.number)
    new = version(acme.production, "hello", number="20261124.2")
    fill(acme.scope, {"new": 1})
    assert len(Worker(new).claim()) == 1
    assert len(Worker(new).claim()) == 0
    assert len(Worker(old, free=200).claim(free=200)) == 80
