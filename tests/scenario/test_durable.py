"""Durable runs with the shipped worker: they leave it while they wait, and outlive it."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.runs.models import Attempt, JournalEntry, Lease, Run
from apps.runs.queries import invariant_violations
from holdfast.durable import Database
from tests.scenario.conftest import eventually
from tests.scenario.test_waits import engine  # noqa: F401 -- a fixture

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("engine")]


def entries(run_id: str) -> list[str]:
    found = JournalEntry.objects.filter(run_id=parse_public_id("run", run_id)).order_by("seq")
    return [f"{entry.kind} {entry.name}" for entry in found]


def attempts(run_id: str) -> list[str]:
    found = Attempt.objects.filter(run_id=parse_public_id("run", run_id)).order_by("number")
    return list(found.values_list("status", flat=True))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "done.txt"
    path.touch()
    return path


def test_a_run_leaves_its_worker_while_it_waits_and_goes_on_at_another(shop, file):
    first = shop.start_worker()
    run_id = shop.client.trigger("durable-order", str(file)).id
    key = parse_public_id("run", run_id)
    eventually(
        lambda: (
            Run.objects.filter(pk=key, status="WAITING").exists()
            and not Lease.objects.filter(pk=key).exists()
        )
    )
    first.kill()  # it holds nothing of the run any more
    shop.start_worker()
    run = shop.finished(run_id)
    assert run.status == "COMPLETED", run
    assert run.output["steps"] == ["first", "last"]
    assert run.output["greeting"] == "hello alice"
    assert file.read_text().split() == ["first", "last"]
    assert attempts(run_id) == ["COMPLETED"]
    assert entries(run_id)[:5] == ["step did", "now now", "random random", "uuid uuid", "time time"]
    assert invariant_violations(now=clock.now()) == []


def test_steps_that_were_recorded_outlive_their_worker(shop, file):
    worker = shop.start_worker(capacity=2)
    file.with_suffix(".pid").write_text(str(worker.pid))
    run_id = shop.client.trigger("durable-killed", str(file)).id
    eventually(lambda: worker.poll() is not None)
    # its lease would run out by itself, within a minute
    Lease.objects.update(expires_at="2020-01-01T00:00:00Z")
    shop.start_worker()
    run = shop.finished(run_id, within=120)
    assert run.output == ["before 0", "before 1", "before 2", "alive", "after"]
    done = file.read_text().splitlines()
    assert sorted(done) == ["after", "alive", "before 0", "before 1", "before 2", "dying"]
    assert attempts(run_id) == ["CRASHED", "COMPLETED"]
    assert invariant_violations(now=clock.now()) == []


def test_a_worker_that_dies_after_a_commit_pays_once(shop, file):
    parameters = connection.get_connection_params()
    wanted = ("dbname", "user", "password", "host", "port")
    address = psycopg.conninfo.make_conninfo(
        **{name: parameters[name] for name in wanted if name in parameters}
    )
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("CREATE TABLE account AS SELECT 0 AS balance")
        Database(address).create_table()
        try:
            worker = shop.start_worker(capacity=2)
            file.with_suffix(".pid").write_text(str(worker.pid))
            order = {"database": address, "path": str(file)}
            run_id = shop.client.trigger("durable-paid", order).id
            eventually(lambda: worker.poll() is not None)
            Lease.objects.update(expires_at="2020-01-01T00:00:00Z")
            shop.start_worker()
            assert shop.finished(run_id, within=120).output == 5
            assert file.read_text().split() == ["dying", "alive"]
            assert database.execute("SELECT balance FROM account").fetchone() == (5,)
        finally:
            database.execute("DROP TABLE account; DROP TABLE holdfast_steps")


def test_a_large_result_goes_through_object_storage(shop):
    shop.start_worker()
    run_id = shop.client.trigger("durable-large").id
    assert shop.finished(run_id).output == 300_000
    kept = JournalEntry.objects.get(run_id=parse_public_id("run", run_id), kind="step")
    assert kept.output_type == "application/store"
    assert len(kept.output) < 200


def test_a_run_is_forked_from_a_step(shop, file):
    shop.start_worker()
    run_id = shop.client.trigger("durable-order", str(file)).id
    original = shop.finished(run_id)
    fork_id = shop.client.runs.fork(run_id, start="7").id
    fork = shop.finished(fork_id)
    assert fork.output == original.output
    assert file.read_text().split() == ["first", "last", "last"]
    again = shop.finished(shop.client.runs.fork(run_id, start="did").id)
    assert again.output["chance"] != original.output["chance"]
    assert file.read_text().split() == ["first", "last", "last", "first", "last"]


def test_the_journal_is_read_page_by_page(shop, file):
    shop.start_worker()
    run_id = shop.client.trigger("durable-order", str(file)).id
    shop.finished(run_id)
    whole = list(shop.client.runs.journal(run_id))
    paged = list(shop.client.runs.journal(run_id, size=2))
    assert [entry.seq for entry in whole] == list(range(1, len(whole) + 1))
    assert paged == whole
