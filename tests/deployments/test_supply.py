"""Supply: real processes come, stay and go as runs need them, and their rows say why."""

import os
import signal
import threading
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from apps.core import clock
from apps.core.ids import new_id
from apps.deployments.models import Instance, Pool, Version, WorkerSession
from apps.deployments.operations.versions import Build, promote_version, register_version
from apps.deployments.providing import workspace
from apps.environments.operations.variables import set_variable
from apps.providers import liveness
from apps.providers.errors import ProviderError
from apps.providers.process import ProcessProvider
from apps.runs.operations import duties, supply
from apps.runs.operations.trigger import TriggerRequest, trigger_runs
from tests.deployments.manifests import manifest, task
from tests.deployments.projects import sha256_of
from tests.factories import acme, key_scope
from tests.providers.bundles import archive_of
from tests.providers.contract import WAITS, wait_until
from tests.runs import engine

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


class Hall(ProcessProvider):
    """The process provider, whose workers are a script of the project instead of the SDK's."""

    def start(self, spec):
        return super().start(replace(spec, command=("main.py",)))


class Clock:
    """The real time, moved on by hand."""

    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return clock.now() + self.ahead

    def move(self, by):
        self.ahead += by


@pytest.fixture
def time():
    return Clock()


@pytest.fixture
def pool(db):
    return Pool.objects.update_or_create(
        name="local",
        defaults={
            "provider": "process",
            "settings": {"slots": 10, "max_per_version": 2, "grace_seconds": 30},
            "created_at": clock.now(),
        },
    )[0]


@pytest.fixture
def hall(tmp_path, pool):
    provider = Hall(tmp_path, pool="local", workspace=workspace())
    yield provider
    provider.stop_all(grace=timedelta(0))


@pytest.fixture
def reconcile(hall, time):
    return lambda: supply.reconcile_pool("local", clock=time, provider=hall)


def ship(scope=None, *, code=WAITS, promote=True, tasks=("hello",), now=None):
    """A deployed version, without the way there."""
    scope, now, files = scope or acme().scope, now or clock.now(), {"main.py": code}
    name = default_storage.save(f"archives/{uuid4()}.tar.gz", ContentFile(archive_of(files)))
    build = Build(archive=name, archive_sha256=sha256_of(files))
    version = register_version(scope, manifest=manifest(*tasks), build=build, now=now)
    if promote:
        promote_version(scope, number=version.number, now=now)
    return version


def long_ago():
    """A promotion so old that it warms nothing."""
    return clock.now() - 10 * MINUTE


def trigger(count=1, *, scope=None, now=None, **options):
    request = TriggerRequest(task=options.pop("task", "hello"), **options)
    return trigger_runs(scope or acme().scope, requests=[request] * count, now=now or clock.now())


def connect(instance, *, now=None, capacity=10):
    """The worker of an instance says hello."""
    now = now or clock.now()
    session = WorkerSession.objects.create(
        id=new_id(),
        environment_id=instance.environment_id,
        version_id=instance.version_id,
        pool="local",
        instance_id=instance.id,
        capacity=capacity,
        coordinator=new_id(),
        connected_at=now,
        seen_at=now,
    )
    return engine.Worker(version=instance.version, session_id=session.id, free=capacity)


def one():
    return Instance.objects.get()


def alive(hall):
    return [seen for seen in hall.list() if seen.is_alive]


def pid_of(hall, instance):
    def pid():
        return {seen.instance: seen.pid for seen in hall.list()}.get(str(instance.id))

    return wait_until(pid)


def test_a_pool_with_nothing_to_do_costs_two_statements(reconcile, django_assert_num_queries):
    ship(now=long_ago())
    with django_assert_num_queries(2):
        reconcile()


def test_a_ready_run_starts_a_worker_at_once(hall, reconcile):
    version = ship(now=long_ago())
    reconcile()
    assert alive(hall) == []
    trigger()
    reconcile()
    (seen,) = alive(hall)
    assert seen.instance == str(one().id)
    assert (one().state, one().provider_ref) == ("running", seen.reference)
    assert (one().version, one().machine) == (version, "")


def test_a_promotion_warms_one_worker_before_any_run(hall, reconcile):
    ship()
    reconcile()
    reconcile()
    assert len(alive(hall)) == 1


def test_a_development_environment_never_gets_a_worker(hall, reconcile):
    ship(key_scope(acme().development), now=clock.now())
    trigger(scope=key_scope(acme().development))
    reconcile()
    assert not Instance.objects.exists()


def test_a_version_that_was_never_shipped_is_left_to_its_owners_workers(hall, reconcile):
    version = register_version(acme().scope, manifest=manifest("hello"), now=clock.now())
    promote_version(acme().scope, number=version.number, now=clock.now())
    trigger()
    reconcile()
    assert not Instance.objects.exists()


def test_the_worker_is_told_who_it_is_and_gets_the_environments_variables(
    hall, reconcile, settings
):
    set_variable(acme().scope, name="GREETING", value="salut", is_secret=True, now=clock.now())
    names = ["API_URL", "SECRET_KEY", "VERSION", "INSTANCE", "POOL", "MACHINE", "CAPACITY"]
    code = (
        "import os\n"
        f"print([os.environ['HOLDFAST_' + name] for name in {names}], os.environ['GREETING'],"
        " os.environ.get('DATABASE_URL'))\n"
    )
    version = ship(code=code + WAITS)
    reconcile()
    log = wait_until(lambda: hall.log_of(str(one().id)))
    told = [settings.SERVER_URL, acme().secret, version.number, str(one().id), "local", "", "10"]
    assert log.startswith(f"{told} salut None")


def test_two_reconcilers_at_once_start_one_worker(hall, time):
    ship()
    trigger(5)
    barrier = threading.Barrier(4)

    def run():
        barrier.wait()
        supply.reconcile_pool("local", clock=time, provider=hall)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(alive(hall)) == 1
    assert one().state == "running"


def test_a_killed_worker_is_replaced_and_its_row_says_why(hall, reconcile):
    ship()
    reconcile()
    first = one()
    os.kill(pid_of(hall, first), signal.SIGKILL)
    wait_until(lambda: not alive(hall))
    reconcile()
    first.refresh_from_db()
    assert (first.state, first.reason) == ("failed", "It was killed by SIGKILL")
    assert first.stopped_at is not None
    (seen,) = alive(hall)
    assert seen.instance != str(first.id)
    assert Instance.objects.get(state="running").id != first.id


def test_the_runs_of_a_dead_worker_are_rescued_at_once(hall, reconcile):
    ship()
    reconcile()
    worker = connect(one())
    (run,) = trigger()
    (work,) = worker.claim(now=clock.now())
    worker.start(work, now=clock.now())
    os.kill(pid_of(hall, one()), signal.SIGKILL)
    wait_until(lambda: not alive(hall))
    assert duties.rescue(clock.now()) == 0
    reconcile()
    assert duties.rescue(clock.now()) == 1
    rescued = engine.get(run.run_id)
    assert rescued.status in {"QUEUED", "DELAYED"}
    assert rescued.status_reason == "its worker ended: It was killed by SIGKILL"
    assert WorkerSession.objects.get().disconnected_at is not None


def test_a_connected_worker_that_still_imports_its_project_is_worth_its_slots(hall, reconcile):
    ship()
    reconcile()
    connect(one(), capacity=0)
    trigger(5)
    reconcile()
    assert Instance.objects.count() == 1


def test_a_worker_that_keeps_crashing_is_replaced_ever_more_slowly(hall, reconcile, time):
    ship(code="raise SystemExit('no database')", now=long_ago())
    trigger()
    for _ in range(3):
        reconcile()
        wait_until(lambda: not alive(hall))
    reconcile()
    assert Instance.objects.count() == 2
    assert "no database" in Instance.objects.filter(state="failed").first().reason
    time.move(timedelta(seconds=2.5))
    reconcile()
    assert Instance.objects.count() == 3


def test_an_idle_worker_is_stopped_after_its_time_and_not_started_again(hall, reconcile, time):
    ship()
    reconcile()
    wait_until(lambda: "up" in hall.log_of(str(one().id)))
    connect(one(), now=time() + MINUTE)
    time.move(timedelta(seconds=59))
    reconcile()
    assert len(alive(hall)) == 1
    time.move(timedelta(seconds=2))
    reconcile()
    assert one().state == "stopping"
    wait_until(lambda: not alive(hall))
    reconcile()
    assert (one().state, one().reason) == ("stopped", "It was idle for 60 s")
    reconcile()
    assert Instance.objects.count() == 1


def test_a_worker_with_a_run_is_warm_and_its_run_prolongs_its_warmth(hall, reconcile, time):
    ship()
    reconcile()
    worker = connect(one())
    trigger()
    (work,) = worker.claim(now=clock.now())
    worker.start(work, now=clock.now())
    for _ in range(3):
        time.move(50 * timedelta(seconds=1))
        WorkerSession.objects.update(seen_at=time())
        reconcile()
    assert (one().state, len(alive(hall))) == ("running", 1)
    worker.say(engine.completed(work), now=clock.now())
    time.move(timedelta(seconds=55))
    WorkerSession.objects.update(seen_at=time())
    reconcile()
    assert one().state == "running"
    time.move(timedelta(seconds=10))
    reconcile()
    assert one().state == "stopping"


def test_a_new_version_takes_over_and_the_old_one_leaves_when_it_has_no_work(hall, reconcile, time):
    ship()
    reconcile()
    old = one()
    worker = connect(old)
    trigger()
    (work,) = worker.claim(now=clock.now())
    worker.start(work, now=clock.now())
    new = ship(code=WAITS + "# newer", now=clock.now() + timedelta(milliseconds=1))
    time.move(timedelta(seconds=20))
    reconcile()
    assert Instance.objects.filter(state="running").count() == 2
    worker.say(engine.completed(work), now=clock.now())
    time.move(timedelta(seconds=20))
    reconcile()
    old.refresh_from_db()
    assert (old.state, "not current" in old.reason) == ("stopping", True)
    assert Instance.objects.get(state="running").version == new


def test_a_run_locked_to_an_old_version_brings_its_worker_back(hall, reconcile):
    old = ship(now=long_ago())
    ship(code=WAITS + "# newer", now=long_ago() + MINUTE)
    trigger(version=old.number)
    reconcile()
    assert one().version == old


def test_a_backlog_brings_more_workers_up_to_the_bound(hall, reconcile):
    ship(now=long_ago())
    trigger(99)
    reconcile()
    assert len(alive(hall)) == 2
    reconcile()
    assert len(alive(hall)) == 2


def test_runs_that_cannot_start_bring_no_worker(hall, reconcile):
    environment = acme().production
    ship(now=long_ago())
    trigger()
    environment.paused_at = clock.now()
    environment.save()
    reconcile()
    assert not Instance.objects.exists()
    environment.paused_at, environment.concurrency_limit = None, 0
    environment.save()
    reconcile()
    assert not Instance.objects.exists()
    environment.concurrency_limit = 1
    environment.save()
    reconcile()
    assert len(alive(hall)) == 1


def test_a_full_queue_brings_no_worker(hall, reconcile, time):
    ship(tasks=[task("hello", queue={"name": "narrow", "concurrencyLimit": 1})], now=long_ago())
    trigger(5)
    reconcile()
    worker = connect(one(), capacity=1)
    (work,) = worker.claim(now=clock.now())
    worker.start(work, now=clock.now())
    reconcile()
    assert Instance.objects.count() == 1


def test_a_failed_start_is_the_rows_reason_and_does_not_stop_the_others(hall, reconcile):
    broken = ship(now=long_ago())
    Version.objects.filter(pk=broken.pk).update(archive="gone.tar.gz", archive_sha256="0" * 64)
    trigger()
    staging = key_scope(acme().staging)
    ship(staging, now=long_ago())
    trigger(scope=staging)
    reconcile()
    failed = Instance.objects.get(version=broken)
    assert failed.state == "failed"
    assert "gone.tar.gz" in failed.reason
    assert Instance.objects.get(environment=acme().staging).state == "running"


def test_a_promise_whose_keeper_died_is_kept_by_the_next_round(hall, time, reconcile, monkeypatch):
    ship()

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Hall, "start", die)
        with pytest.raises(KeyboardInterrupt):
            reconcile()
    assert one().state == "starting"
    reconcile()
    assert alive(hall) == []  # it may still be at it
    time.move(timedelta(seconds=20))
    reconcile()
    assert (one().state, len(alive(hall))) == ("running", 1)


def test_a_worker_that_was_started_but_never_recorded_is_adopted(hall, reconcile, monkeypatch):
    ship()
    start = Hall.start

    def start_and_die(self, spec):
        start(self, spec)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Hall, "start", start_and_die)
        with pytest.raises(KeyboardInterrupt):
            reconcile()
    reconcile()
    assert (one().state, len(alive(hall))) == ("running", 1)


def test_a_stranger_is_reaped(hall, reconcile):
    ship()
    reconcile()
    Instance.objects.all().delete()
    (stranger,) = alive(hall)
    reconcile()
    wait_until(lambda: stranger.reference not in {seen.reference for seen in alive(hall)})


def test_a_worker_that_the_provider_has_forgotten_is_written_off(hall, reconcile, time, tmp_path):
    ship()
    reconcile()
    first = one()
    Instance.objects.filter(pk=first.pk).update(provider_ref="x", started_at=long_ago())
    hall.stop_all(grace=timedelta(0))
    hall.forget(str(first.id))
    reconcile()
    first.refresh_from_db()
    assert (first.state, "know it" in first.reason) == ("failed", True)


def test_a_worker_without_a_connection_is_replaced_in_the_end(hall, reconcile, time):
    ship()
    reconcile()
    wait_until(lambda: "up" in hall.log_of(str(one().id)))
    trigger()
    time.move(timedelta(seconds=100))
    reconcile()
    assert one().state == "running"
    time.move(timedelta(seconds=30))
    reconcile()
    first = Instance.objects.earliest("id")
    assert first.state == "stopping"
    assert "no connection" in first.reason
    assert Instance.objects.latest("id").state == "running"


def test_a_worker_that_does_not_drain_is_killed_after_the_grace(hall, reconcile, time, pool):
    pool.settings["grace_seconds"] = 0
    pool.save()
    ship(code="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS[30:])
    reconcile()
    pid = pid_of(hall, one())
    time.move(2 * MINUTE)
    reconcile()
    wait_until(lambda: liveness.identity(pid) is None)


def test_a_provider_that_fails_is_no_reason_to_change_anything(pool, time):
    class Broken:
        def list(self):
            raise ProviderError("the socket is gone")

    ship()
    with pytest.raises(ProviderError):
        supply.reconcile_pool("local", clock=time, provider=Broken())
    assert not Instance.objects.exists()


def test_a_pool_that_does_not_exist_has_no_work(time):
    supply.reconcile_pool("nowhere", clock=time)


def test_runs_lack_a_worker_until_one_is_connected(hall, reconcile, time):
    environment = acme().production
    assert not supply.lacks_worker(environment.id, now=time())  # nothing to run it
    ship()
    assert supply.lacks_worker(environment.id, now=time())
    reconcile()
    connect(one())
    assert not supply.lacks_worker(environment.id, now=time())
    time.move(2 * MINUTE)
    assert supply.lacks_worker(environment.id, now=time())
    assert not supply.lacks_worker(acme().development.id, now=time())
