"""Our own client and command line against a live server: schedules, batches from files, bulk."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.runs.operations.bulk import advance_bulk_action
from holdfast import api_errors
from holdfast.cli.app import run as command
from holdfast.client import SyncHoldfastClient
from tests import factories
from tests.api import scenes


@pytest.fixture
def tenant(web):
    tenant = factories.acme()
    scenes.version(tenant.scope, {**scenes.TASK, "id": "hello-world"})
    return tenant


@pytest.fixture
def client(web, tenant):
    with SyncHoldfastClient(api_url=web.url, secret_key=tenant.secret) as client:
        yield client


@pytest.fixture
def holdfast(web, tenant, monkeypatch, capsys, tmp_path):
    """Runs a command line; its exit code and what it printed, as JSON."""
    monkeypatch.setenv("HOLDFAST_API_URL", web.url)
    monkeypatch.setenv("HOLDFAST_SECRET_KEY", tenant.secret)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*arguments: str):
        code = command([*arguments, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out.strip() else captured.err

    return run


def test_a_schedule_through_its_life(client):
    made = client.schedules.create(
        "hello-world", deduplication_key="k", cron="@daily", timezone="Europe/Paris",
        external_id="u1", overlap="skip", window="50%",
    )  # fmt: skip
    assert (made.type, made.active, made.overlap, made.window) == (
        "IMPERATIVE", True, "skip", "50%",
    )  # fmt: skip
    assert made.next_run <= made.next_run_effective_at
    again = client.schedules.create(
        "hello-world", deduplication_key="k", every=timedelta(minutes=5)
    )
    assert (again.id, again.every, again.generator.description) == (
        made.id, 300, "Every 300 seconds",
    )  # fmt: skip
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    assert client.schedules.update(made.id, "hello-world", at=at).next_run == at
    assert client.schedules.deactivate(made.id).next_run is None
    assert client.schedules.activate(made.id).active
    assert [s.id for s in client.schedules.list(task="hello-world").data] == [made.id]
    assert client.schedules.retrieve(made.id).at == at
    since = datetime(2026, 1, 1, tzinfo=UTC)
    carrying = client.schedules.update(
        made.id, "hello-world", every=60, payload={"since": since},
        options={"queue": "q", "ttl": timedelta(minutes=10), "tags": ["a"], "max_attempts": 2},
    )  # fmt: skip
    assert carrying.payload == {"since": "2026-01-01T00:00:00.000Z"}
    assert carrying.options == {
        "queue": {"name": "q"}, "ttl": "600s", "tags": ["a"], "maxAttempts": 2,
    }  # fmt: skip
    assert carrying.problem is None
    with pytest.raises(TypeError, match="no option delay"):
        client.schedules.update(made.id, "hello-world", every=60, options={"delay": "1h"})
    client.schedules.delete(made.id)
    with pytest.raises(api_errors.NotFoundError):
        client.schedules.retrieve(made.id)
    with pytest.raises(api_errors.UnprocessableError, match="is not a cron"):
        client.schedules.create("hello-world", deduplication_key="k", cron="soon")
    assert "Asia/Kolkata" in client.schedules.timezones()


def test_what_comes_and_what_was(client):
    made = client.schedules.create("hello-world", deduplication_key="k", cron="0 * * * *")
    coming = client.schedules.upcoming(schedule_id=made.id, limit=3)
    assert [time.timestamp for time in coming] == [
        made.next_run + timedelta(hours=n) for n in range(3)
    ]
    day = datetime(2026, 11, 1, tzinfo=UTC)
    ticks = client.schedules.backfill(made.id, day, day + timedelta(hours=2))
    assert [(tick.timestamp, tick.outcome) for tick in ticks] == [
        (day + timedelta(hours=n), "triggered") for n in range(3)
    ]
    assert [tick.run for tick in client.schedules.ticks(made.id)] == [
        tick.run for tick in reversed(ticks)
    ]


def test_many_runs_at_once(client):
    runs = [client.trigger("hello-world", n, tags=["old"]).id for n in range(3)]
    action = client.bulk.cancel(tag="old", name="old ones")
    while advance_bulk_action(parse_public_id("bulk", action), clock=clock.now):
        pass
    found = client.bulk.retrieve(action)
    assert (found.is_final, found.counts.success, found.name) == (True, 3, "old ones")
    assert {client.runs.retrieve(run).status for run in runs} == {"CANCELED"}
    second = client.bulk.replay(runs=runs[:1])
    client.bulk.abort(second)
    assert [one.status for one in client.bulk.list(size=1)] == ["ABORTED", "COMPLETED"]


def test_schedules_from_the_terminal(holdfast):
    create = ("schedules", "create", "hello-world", "--key", "k")
    code, made = holdfast(*create, "--cron", "0 9 * * mon-fri", "--timezone", "Europe/Paris")
    assert (code, made["generator"]["description"]) == (0, "At 09:00, Monday through Friday")
    assert holdfast(*create)[0] == 2
    assert holdfast(*create, "--cron", "never")[0] == 5
    for verb, active in (("deactivate", False), ("activate", True)):
        assert holdfast("schedules", verb, made["id"])[1]["active"] is active
    assert len(holdfast("schedules", "upcoming", made["id"], "--limit", "2")[1]) == 2
    span = ("--from", "2026-11-02", "--to", "2026-11-04")
    assert len(holdfast("schedules", "backfill", made["id"], *span)[1]) == 2
    assert len(holdfast("schedules", "ticks", made["id"])[1]) == 2
    assert [s["id"] for s in holdfast("schedules", "list")[1]] == [made["id"]]
    assert holdfast("schedules", "show", made["id"])[1]["task"] == "hello-world"
    carrying = [
        "--payload", '{"region": "eu"}', "--tag", "eu", "--ttl", "1h", "--priority", "0", "--key",
        "k2", "--cron", "@daily",
    ]  # fmt: skip
    shown = holdfast("schedules", "create", "hello-world", *carrying)[1]
    assert shown["payload"] == {"region": "eu"}
    assert shown["options"] == {"tags": ["eu"], "ttl": "3600s"}
    bare = holdfast("schedules", "update", shown["id"], "hello-world", "--every", "60")[1]
    assert bare["every"] == 60
    assert "payload" not in bare
    assert bare["options"] == {}
    assert holdfast("schedules", "delete", made["id"])[0] == 0
    assert holdfast("schedules", "show", made["id"])[0] == 4


def test_a_batch_of_a_file(holdfast, client, tmp_path):
    file = tmp_path / "items.ndjson"
    lines = [{"task": "hello-world", "payload": {"n": n}, "options": {"tags": ["t"]}} for n in "ab"]
    file.write_text("".join(f"{json.dumps(line)}\n\n" for line in lines))
    code, made = holdfast("batch", "trigger", str(file))
    assert (code, made["runCount"]) == (0, 2)
    runs = client.batches.retrieve(made["id"]).runs
    assert [client.runs.retrieve(run).payload for run in runs] == [{"n": "a"}, {"n": "b"}]
    file.write_text("1\n2\n3\n")
    code, made = holdfast("batch", "trigger", str(file), "--task", "hello-world")
    assert holdfast("batch", "show", made["id"])[1]["runCount"] == 3
    assert holdfast("batch", "results", made["id"]) == (0, [])
    file.write_text('{"payload": 1}\n')
    assert holdfast("batch", "trigger", str(file))[0] == 2
    assert holdfast("batch", "trigger", str(tmp_path / "none"))[0] == 2


def test_bulk_actions_from_the_terminal(holdfast, client):
    run = client.trigger("hello-world", None).id
    code, made = holdfast("bulk", "cancel", "--run", run)
    assert (code, made["status"]) == (0, "PENDING")
    assert holdfast("bulk", "cancel")[0] == 2
    assert holdfast("bulk", "abort", made["id"])[0] == 0
    assert holdfast("bulk", "show", made["id"])[1]["status"] == "ABORTED"
    assert [one["id"] for one in holdfast("bulk", "list")[1]] == [made["id"]]
