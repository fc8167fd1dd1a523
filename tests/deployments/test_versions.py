"""Versions: numbered, registered whole or not at all, promoted."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection

from apps.core import facts
from apps.core.errors import Forbidden, Invalid, NotFound
from apps.deployments import queries
from apps.deployments.facts import QueuesChanged, VersionPromoted
from apps.deployments.models import Queue, Task, Version
from apps.deployments.operations.versions import promote_version, register_version
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests import factories
from tests.deployments.manifests import manifest, task
from tests.factories import NOW, acme, alice, bob, charlies_scope, user_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard(monkeypatch):
    """Facts as they are published, before any commit."""
    told = []
    kinds = (QueuesChanged, VersionPromoted)
    monkeypatch.setattr(facts, "_listeners", dict.fromkeys(kinds, (told.append,)))
    return told


def dev_scope():
    return factories.key_scope(acme().development)


def register(scope, *tasks, now=NOW, **changes):
    return register_version(scope, manifest=manifest(*tasks, **changes), now=now)


def test_versions_of_a_day_are_counted_from_one():
    scope = acme().scope
    numbers = [register(scope, "a").number for _ in range(11)]
    assert numbers[0] == "20261124.1"
    assert numbers[-1] == "20261124.11"
    assert register(scope, "a", now=NOW + timedelta(days=1)).number == "20261125.1"


def test_each_environment_counts_for_itself():
    register(acme().scope, "a")
    assert register(factories.key_scope(acme().staging), "a").number == "20261124.1"


def test_a_version_has_its_tasks_as_the_manifest_says():
    version = register(
        acme().scope,
        task(
            "send",
            queue={"name": "mail", "concurrencyLimit": 3},
            retry={"maxAttempts": 7},
            machine={"preset": "medium-1x"},
            maxDuration=60,
            ttl="10m",
            suspendAfter=90,
            payloadSchema={"type": "object"},
            isolation="run",
            durable=True,
            description="Sends mail.",
        ),
    )
    (sent,) = queries.tasks_of(acme().scope, version.id)
    assert (sent.slug, sent.queue_name, sent.queue_type) == ("send", "mail", "custom")
    assert sent.retry["maxAttempts"] == 7
    assert (sent.machine, sent.max_duration_seconds, sent.ttl_seconds) == ("medium-1x", 60, 600)
    assert sent.suspend_after_seconds == 90
    assert (sent.payload_schema, sent.isolation, sent.durable) == ({"type": "object"}, "run", True)
    assert (sent.file_path, sent.description) == ("tasks/send.py", "Sends mail.")
    assert version.content_hash == "sha256:1"


def test_a_wrong_manifest_leaves_nothing_behind():
    with pytest.raises(Invalid, match=r"other\.py"):
        register(acme().scope, task("a"), task("a", filePath="other.py"))
    assert not Version.objects.exists()
    assert not Task.objects.exists()
    assert not Queue.objects.exists()


def test_queues_are_declared_once_and_follow_the_code_but_keep_what_people_set():
    scope = acme().scope
    register(scope, "a", task("b", queue={"name": "mail", "concurrencyLimit": 3}))
    Queue.objects.filter(name="mail").update(override=9, paused_at=NOW)
    register(scope, "a", task("b", queue={"name": "mail", "concurrencyLimit": 5}))
    own, mail = Queue.objects.order_by("-name")
    assert (own.name, own.type, own.effective_limit) == ("task/a", "task", None)
    assert (mail.type, mail.concurrency_limit, mail.override) == ("custom", 5, 9)
    assert mail.paused_at == NOW


def test_only_changed_queues_are_told(heard, django_capture_on_commit_callbacks):
    scope = acme().scope
    with django_capture_on_commit_callbacks(execute=True):
        register(scope, "a", task("b", queue={"name": "mail"}))
        register(scope, "a", task("b", queue={"name": "mail", "concurrencyLimit": 5}))
        register(scope, "a", task("b", queue={"name": "mail", "concurrencyLimit": 5}))
    assert [fact.names for fact in heard] == [("mail", "task/a"), ("mail",)]


def test_a_development_version_is_current_at_once_and_others_are_not(
    heard, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        version = register(dev_scope(), "a")
        register(acme().scope, "a")
    assert queries.current_version(dev_scope()) == version
    assert queries.current_version(acme().scope) is None
    (fact,) = [fact for fact in heard if isinstance(fact, VersionPromoted)]
    assert (fact.version_id, fact.number) == (version.id, version.number)


def test_the_same_code_registered_again_in_development_is_the_same_version():
    first = register(dev_scope(), "a")
    assert register(dev_scope(), "a", now=NOW + timedelta(hours=1)) == first
    assert register(dev_scope(), "a", "b") != first
    assert register(dev_scope(), "a", "b", contentHash="sha256:2").number == "20261124.3"


def test_promotion_changes_what_new_runs_get_and_is_audited(
    heard, django_capture_on_commit_callbacks
):
    scope = user_scope(acme().production, bob(), Role.DEVELOPER)
    first, second = register(scope, "a"), register(scope, "a", "b")
    with django_capture_on_commit_callbacks(execute=True):
        promote_version(scope, number=second.number, now=NOW)
        promote_version(scope, number=first.number, now=NOW)  # a rollback
    assert queries.current_version(scope) == first
    assert [fact.number for fact in heard] == [second.number, first.number]
    entry = AuditEntry.objects.filter(action="version.promoted").latest("id")
    assert (entry.actor_id, entry.detail) == (bob().id, {"number": first.number})


def test_the_definition_of_a_task_is_the_current_versions():
    scope = acme().scope
    environment_id = scope.environment_id
    first = register(scope, "a")
    assert queries.task_definition(environment_id, "a") is None
    promote_version(scope, number=first.number, now=NOW)
    assert queries.task_definition(environment_id, "a").version_number == first.number
    assert queries.task_definition(environment_id, "b") is None
    second = register(scope, "a", "b")
    promote_version(scope, number=second.number, now=NOW)
    assert queries.task_definition(environment_id, "b").version_id == second.id


def test_charlie_sees_and_promotes_nothing_of_acme():
    version = register(acme().scope, "a")
    charlie = charlies_scope()
    with pytest.raises(NotFound):
        promote_version(charlie, number=version.number, now=NOW)
    with pytest.raises(NotFound):
        queries.get_version(charlie, version.number)
    assert queries.tasks_of(charlie, version.id) == []
    assert queries.list_queues(charlie) == []
    with pytest.raises(NotFound):
        queries.get_queue(charlie, "task/a")


def test_a_viewer_may_look_but_not_register_or_promote():
    version = register(acme().scope, "a")
    viewer = user_scope(acme().production, alice(), Role.VIEWER)
    assert queries.get_version(viewer, version.number) == version
    assert queries.list_versions(viewer) == [version]
    with pytest.raises(Forbidden):
        register(viewer, "a")
    with pytest.raises(Forbidden):
        promote_version(viewer, number=version.number, now=NOW)


def test_promoting_what_does_not_exist_is_not_found():
    with pytest.raises(NotFound, match=r"20261124\.9"):
        promote_version(acme().scope, number="20261124.9", now=NOW)


@pytest.mark.django_db(transaction=True)
def test_registrations_at_once_get_different_numbers():
    scope, barrier, numbers = acme().scope, threading.Barrier(6), []

    def run():
        barrier.wait()
        numbers.append(register(scope, "a", contentHash=uuid4().hex).number)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [f"20261124.{number}" for number in range(1, 7)]
