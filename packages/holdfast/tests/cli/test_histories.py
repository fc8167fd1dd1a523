"""Histories: replayed with the code of a project, fetched, and forked from."""

from __future__ import annotations

import pytest

from holdfast.protocol import Entry
from holdfast.testing import History
from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import Answer, Stub

TASK = """\
from holdfast import step, task

async def charge(n):
    raise RuntimeError("a replay does nothing")

@task(id="order", durable=True)
async def order(n: int) -> int:
    return await step(charge, n, name="{name}")
"""


def history(name: str, **changes) -> History:
    entry = Entry(
        seq=1, position="1", kind="step", name=name, output='{"json":3}',
        output_type="application/super+json",
    )  # fmt: skip
    given = {"run": "run_1", "task": "order", "status": "COMPLETED", "payload": 3}
    return History.taken(journal=(entry,), **given | changes)


@pytest.fixture
def project(cli: Cli):
    return cli.project(order=TASK.format(name="charge"))


def test_the_same_code_replays_with_exit_code_0(cli: Cli, project):
    history("charge").save(project / "same.json")
    done = cli("replay-history", "same.json")
    assert done.code == 0, done.err
    assert "same" in done.out


def test_other_code_exits_with_1_and_shows_both_sides(cli: Cli, project):
    history("charge").save(project / "same.json")
    history("refund").save(project / "other.json")
    done = cli("replay-history", "same.json", "other.json", "--json")
    assert done.code == 1
    assert [each["ok"] for each in done.json] == [True, False]
    assert "step 'refund'" in done.json[1]["result"]
    assert "step 'charge'" in done.json[1]["result"]


def test_a_task_that_is_gone_exits_with_1(cli: Cli, project):
    history("charge", task="gone").save(project / "gone.json")
    assert cli("replay-history", "gone.json").code == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1}'])
def test_what_is_no_history_exits_with_2(cli: Cli, project, text):
    (project / "none.json").write_text(text)
    done = cli("replay-history", "none.json")
    assert (done.code, done.out) == (2, "")
    assert "none.json" in done.err


def test_a_file_that_is_missing_exits_with_2(cli: Cli, project):
    assert cli("replay-history", "missing.json").code == 2


def test_a_run_is_forked(cli: Cli, stub: Stub):
    stub.scripted = [Answer(status=200, body={"id": "run_2"})]
    done = cli("runs", "fork", "run_1", "--from", "charge", "--version", "20261124.1", "--json")
    assert done.json == [{"id": "run_2", "forkOf": "run_1"}]
    assert stub.requests[-1].json == {"from": "charge", "version": "20261124.1"}


def test_a_journal_is_listed_with_what_a_fork_may_name(cli: Cli, stub: Stub):
    entry = {
        "seq": 1, "position": "12", "kind": "step", "name": "charge", "after": 0, "ok": False,
        "error": {"message": "the bank is away"}, "attempts": 3, "startedMs": 5, "tookMs": 1500,
    }  # fmt: skip
    stub.scripted = [Answer(status=200, body={"data": [entry], "pagination": {}})]
    done = cli("runs", "journal", "run_1")
    assert done.code == 0, done.err
    row = done.out.splitlines()[1]
    assert row.split() == [
        "12",
        "step",
        "charge",
        "no",
        "3",
        "1.5",
        "s",
        "the",
        "bank",
        "is",
        "away",
    ]


def test_a_history_is_fetched(cli: Cli, stub: Stub, project):
    entry = {
        "seq": 1, "position": "1", "kind": "step", "name": "charge", "after": 0, "ok": True,
        "output": '{"json":3}', "outputType": "application/super+json", "attempts": 1,
        "startedMs": 5, "tookMs": 1,
    }  # fmt: skip
    page = {"data": [entry], "pagination": {}}
    run = Answer(status=200, body=stub.add_run("run_1"))
    stub.scripted = [run, Answer(status=200, body=page), run]
    done = cli("runs", "history", "run_1", "-o", "order.json")
    assert done.code == 0, done.err
    found = History.load(project / "order.json")
    assert [each.name for each in found.journal] == ["charge"]
