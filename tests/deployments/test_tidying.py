"""What builds and workers leave behind is bounded."""

import json
import os
import time
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django_celery_beat.models import PeriodicTask

from apps.core.ids import new_id
from apps.deployments import providing
from apps.deployments.models import Instance, Pool, WorkerSession
from apps.deployments.operations import tidying
from apps.deployments.operations.versions import register_version
from apps.providers import liveness
from config.celery import app
from tests.deployments.manifests import manifest
from tests.factories import NOW, acme

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(settings, tmp_path):
    settings.HOLDFAST_HOME = tmp_path
    providing._workspace.cache_clear()
    return tmp_path


def folder(path, *, days):
    path.mkdir(parents=True)
    moment = time.time() - timedelta(days=days).total_seconds()
    os.utime(path, (moment, moment))


def test_only_what_nobody_used_for_a_week_is_removed(home):
    folder(home / "versions/old", days=8)
    folder(home / "versions/recent", days=6)
    folder(home / "environments/old", days=8)
    assert sorted(tidying.tidy_machine()) == ["old", "old"]
    assert (home / "versions/recent").exists()


def test_what_a_live_worker_needs_stays_however_old(home):
    Pool.objects.get_or_create(name="local", defaults={"provider": "process", "created_at": NOW})
    folder(home / "versions/needed", days=8)
    worker = home / "pools/local/worker"
    worker.mkdir(parents=True)
    record = {
        "pid": os.getpid(),
        "identity": liveness.identity(os.getpid()),
        "started_at": 0,
        "project": "needed",
        "environment": "none",
    }
    (worker / "record.json").write_text(json.dumps(record))
    assert tidying.tidy_machine() == []


def test_workers_of_long_ago_are_forgotten_and_live_ones_never():
    version = register_version(acme().scope, manifest=manifest("a"), now=NOW)
    pool, _ = Pool.objects.get_or_create(
        name="local", defaults={"provider": "process", "created_at": NOW}
    )
    common = {"environment": acme().production, "version": version, "machine": ""}
    for state, stopped_at in [("stopped", NOW), ("running", None)]:
        Instance.objects.create(
            pool=pool, state=state, stopped_at=stopped_at, created_at=NOW, **common
        )
    for disconnected_at in (NOW, None):
        WorkerSession.objects.create(
            id=new_id(),
            capacity=1,
            coordinator=new_id(),
            connected_at=NOW,
            seen_at=NOW,
            disconnected_at=disconnected_at,
            **common,
        )
    assert tidying.prune_history(now=NOW + timedelta(days=29)) == 0
    assert tidying.prune_history(now=NOW + timedelta(days=31)) == 2
    assert Instance.objects.get().state == "running"
    assert WorkerSession.objects.get().disconnected_at is None


def test_every_periodic_job_exists_under_the_name_that_beat_sends():
    # what migrations wrote is gone after any test that commits: they write it again
    for name in ("0003_platform_jobs", "0004_tidying_jobs"):
        import_module(f"apps.deployments.migrations.{name}").create(apps, None)
    app.loader.import_default_modules()
    ours = PeriodicTask.objects.filter(task__regex=r"^(runs|deployments)\.")
    assert {job.task for job in ours} <= set(app.tasks)
    assert "runs.reconcile_pool" in {job.task for job in ours}
