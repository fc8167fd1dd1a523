"""What a new version and a changed queue mean for runs, by the facts that tell of them."""

from __future__ import annotations

import pytest

from apps.deployments.models import Queue
from apps.deployments.operations.versions import promote_version, register_version
from apps.runs.models import Lane
from apps.runs.operations.versions import apply_queues
from tests import factories
from tests.deployments.manifests import manifest, task
from tests.runs.engine import NOW, Worker, completed, get, later, trigger, unsound, version

pytestmark = pytest.mark.django_db


@pytest.fixture
def ship(acme, django_capture_on_commit_callbacks):
    """Register a version and tell everybody; outside of development promote it, too."""

    def shipped(*tasks, scope=None, **changes):
        scope = scope or acme.scope
        with django_capture_on_commit_callbacks(execute=True):
            made = register_version(scope, manifest=manifest(*tasks, **changes), now=NOW)
        if scope.environment_id != acme.development.pk:
            with django_capture_on_commit_callbacks(execute=True):
                promote_version(scope, number=made.number, now=later(1))
        return made

    return shipped


def test_a_promotion_releases_what_waited_for_it(acme, ship):
    run_id = trigger(acme.scope, "unborn")
    ship("other")
    assert get(run_id).status == "PENDING_VERSION"
    made = ship("unborn")
    assert get(run_id).status == "QUEUED"
    assert [get(work.run).pk for work in Worker(made).claim()] == [run_id]
    assert unsound() == []


def test_in_development_a_registration_is_enough(acme, ship):
    scope = factories.key_scope(acme.development)
    run_id = trigger(scope, "unborn")
    ship("unborn", scope=scope)
    assert get(run_id).status == "QUEUED"


def test_many_are_released(acme, ship):
    runs = [trigger(acme.scope, "unborn") for _ in range(30)]
    ship("unborn")
    assert {get(run_id).status for run_id in runs} == {"QUEUED"}


def test_queued_runs_follow_the_promotion_and_locked_ones_do_not(acme, ship):
    old = ship("hello")
    free, locked = trigger(acme.scope), trigger(acme.scope, version=old.number)
    new = ship("hello", contentHash="sha256:2")
    assert [get(work.run).pk for work in Worker(new).claim()] == [free]
    assert [get(work.run).pk for work in Worker(old).claim()] == [locked]


def test_a_started_run_stays_with_its_version(acme, ship):
    old = ship("hello")
    worker = Worker(old)
    run_id = trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    new = ship("hello", contentHash="sha256:2")
    worker.say(completed(work))
    assert get(run_id).version_id == old.pk
    assert Worker(new).claim() == []


def test_a_changed_limit_reaches_the_lanes(acme, ship):
    limited = {"name": "task/hello", "concurrencyLimit": 1}
    made = ship(task("hello", queue=limited))
    for _ in range(3):
        trigger(acme.scope)
    worker = Worker(made)
    assert len(worker.claim()) == 1
    newer = ship(task("hello", queue={**limited, "concurrencyLimit": 2}), contentHash="sha256:2")
    assert Lane.objects.get().cap == 2
    assert len(Worker(newer).claim()) == 1


def test_queues_are_applied_to_every_key_and_to_no_other_environment(acme, charlie):
    version(acme.production, "hello")
    for key in ("a", "b", None):
        trigger(acme.scope, concurrency_key=key)
    trigger(charlie.scope)
    for tenant, limit in ((acme, 7), (charlie, 9)):
        Queue.objects.create(
            environment=tenant.production, name="task/hello", concurrency_limit=limit,
            created_at=NOW,
        )  # fmt: skip
    apply_queues(acme.production.pk, now=later(0))
    assert set(Lane.objects.filter(environment=acme.production).values_list("cap", flat=True)) == {
        7
    }
    assert Lane.objects.get(environment=charlie.production).cap is None


def test_a_lowered_limit_stops_nothing_that_executes(acme):
    worker = Worker(version(acme.production, "hello", queues={"task/hello": 3}))
    for _ in range(4):
        trigger(acme.scope)
    works = worker.claim()
    Queue.objects.update(override=1)
    apply_queues(acme.production.pk, now=later(0))
    assert worker.claim() == []
    worker.say(*(completed(work) for work in works[:2]))
    assert worker.claim() == []
    worker.say(completed(works[2]))
    assert len(worker.claim()) == 1
    assert unsound() == []


def test_a_limit_of_zero_starts_nothing(acme):
    worker = Worker(version(acme.production, "hello", queues={"task/hello": 0}))
    trigger(acme.scope)
    assert worker.claim() == []
