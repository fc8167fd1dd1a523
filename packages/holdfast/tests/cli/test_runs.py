"""Triggering runs and looking at them."""

from __future__ import annotations

import json

import pytest

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import PROJECT, SECRET_KEY, Answer, Stub

FAILED = {"status": "FAILED", "error": {"name": "ValueError", "message": "no"}}


def test_a_trigger_prints_the_run(cli: Cli, stub: Stub):
    done = cli("trigger", "hello", "--payload", '{"n": 1}', "--tag", "a", "--tag", "b", "--test")
    assert done.code == 0, done.err
    assert done.out == "run  run_1\n"
    body = stub.requests[0].json
    assert body["payload"] == '{"json":{"n":1}}'
    assert body["options"]["tags"] == ["a", "b"]
    assert body["options"]["test"] is True
    assert stub.requests[0].headers["x-trigger-source"] == "cli"


def test_input_is_sent_to_a_run(cli: Cli, stub: Stub):
    stub.script(Answer(body={"ok": True}))
    done = cli("runs", "send-input", "run_1", "chat/7", '{"approved": true}')
    assert (done.code, done.err) == (0, "")
    (request,) = stub.of("POST", "/realtime/v1/streams/run_1/input/chat%2F7")
    assert request.json == {
        "data": '{"json":{"approved":true}}', "dataType": "application/super+json",
    }  # fmt: skip
    assert request.headers["x-part-id"]


def test_a_payload_comes_from_a_file_or_stdin(cli: Cli, stub: Stub):
    (cli.folder / "order.json").write_text("[1]")
    cli("trigger", "hello", "--payload", "@order.json")
    cli("trigger", "hello", "--payload", "-", stdin="[2]")
    assert [r.json["payload"] for r in stub.requests] == ['{"json":[1]}', '{"json":[2]}']


def test_all_options_reach_the_server(cli: Cli, stub: Stub):
    cli(
        "trigger", "hello", "--delay", "10m", "--ttl", "1h", "--metadata", '{"p": 1}',
        "--idempotency-key", "k", "--queue", "q", "--concurrency-key", "c",
        "--machine", "small-2x", "--max-attempts", "2", "--max-duration", "60",
        "--priority", "3", "--version", "20261124.1",
    )  # fmt: skip
    options = stub.requests[0].json["options"]
    assert options["delay"] == "10m"
    assert options["ttl"] == "1h"
    assert options["metadata"] == {"p": 1}
    assert options["idempotencyKeyOptions"]["key"] == "k"
    assert options["queue"] == {"name": "q"}
    assert options["concurrencyKey"] == "c"
    assert options["machine"] == "small-2x"
    assert options["maxAttempts"] == 2
    assert options["maxDuration"] == 60
    assert options["priority"] == 3
    assert options["lockToVersion"] == "20261124.1"


def test_a_payload_that_is_no_json_is_a_usage_error(cli: Cli, stub: Stub):
    done = cli("trigger", "hello", "--payload", "alice")
    assert done.code == 2
    assert "not JSON" in done.err
    assert done.err.count("\n") == 1
    assert stub.requests == []


def test_waiting_prints_the_finished_run(cli: Cli, stub: Stub):
    done = cli("trigger", "hello", "--wait", "--json")
    assert done.code == 0, done.err
    assert done.json["id"] == "run_1"
    assert done.json["status"] == "COMPLETED"


def test_a_failed_run_is_exit_code_1(cli: Cli, stub: Stub):
    stub.add_run("run_9", **FAILED)
    stub.script(Answer(body={"id": "run_9"}))
    done = cli("trigger", "hello", "--wait")
    assert done.code == 1
    assert done.err == "error: run_9 is FAILED: no\n"
    assert "ValueError: no" in done.out


def test_waiting_too_long_is_exit_code_1(cli: Cli, stub: Stub):
    stub.add_run("run_9", "QUEUED")
    stub.script(Answer(body={"id": "run_9"}))
    done = cli("trigger", "hello", "--wait", "--timeout", "0.1")
    assert done.code == 1
    assert "QUEUED" in done.err


def test_a_trigger_that_joins_an_open_run_says_so(cli: Cli, stub: Stub):
    stub.script(Answer(body={"id": "run_9", "isCached": True}))
    done = cli("trigger", "hello", "--overlap", "skip")
    assert "no new run: this one was there" in done.out
    assert stub.requests[-1].json["options"]["overlap"] == "skip"


def test_waiting_says_once_why_a_run_does_not_start(cli: Cli, stub: Stub):
    reason = "no version has the task 'hello' yet"
    stub.add_run("run_9", "PENDING_VERSION", reason=reason)
    stub.script(Answer(body={"id": "run_9"}))
    done = cli("trigger", "hello", "--wait", "--timeout", "2.2")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"run_9: {reason}",
        "error: Run run_9 is PENDING_VERSION after 2.2 seconds.",
    ]


def test_the_list_is_a_table_that_is_never_cut(cli: Cli, stub: Stub):
    stub.add_run("run_" + "x" * 200, tags=["a", "b"])
    done = cli("runs", "list")
    assert done.code == 0, done.err
    head, row = done.out.splitlines()
    assert head.split() == ["RUN", "TASK", "STATUS", "VERSION", "CREATED", "TOOK", "TAGS"]
    assert row.startswith("run_" + "x" * 200 + "  hello  COMPLETED")
    assert row.endswith("a, b")


def test_the_list_takes_filters_and_a_limit_over_pages(cli: Cli, stub: Stub):
    for number in range(5):
        stub.add_run(f"run_{number}", "FAILED")
    done = cli("runs", "list", "--status", "failed", "--task", "hello", "--limit", "3", "--json")
    assert [run["id"] for run in done.json] == ["run_0", "run_1", "run_2"]
    query = stub.requests[0].query
    assert query["filter[status]"] == "FAILED"
    assert query["filter[taskIdentifier]"] == "hello"


def test_an_empty_list_is_an_empty_table_or_list(cli: Cli):
    done = cli("runs", "list")
    assert (done.code, done.out, done.err) == (0, "", "Nothing found.\n")
    assert cli("runs", "list", "--json").json == []


def test_show_prints_everything(cli: Cli, stub: Stub):
    stub.add_run("run_x", output={"a": 1}, attemptCount=2, **FAILED)
    done = cli("runs", "show", "run_x")
    fields = dict(line.split("  ", 1) for line in done.out.splitlines() if "  " in line)
    assert fields["status"].strip() == "FAILED"
    assert fields["output"].strip() == '{"a": 1}'
    assert fields["error"].strip() == "ValueError: no"
    assert cli("runs", "show", "run_x", "--json").json["output"] == {"a": 1}


@pytest.mark.parametrize("command", ["show", "cancel", "replay", "logs"])
def test_an_unknown_run_is_exit_code_4_and_says_where_it_was_looked_for(
    cli: Cli, stub: Stub, command: str
):
    stub.script(
        Answer(status=404, body={"error": "Not found"}, headers={"x-should-retry": "false"})
    )
    done = cli("runs", command, "run_x")
    assert (done.code, done.out) == (4, "")
    assert done.err == (
        f"error: There is no run run_x in dev at {stub.url}: "
        "name another environment with --env (staging, prod, preview).\n"
    )


def test_errors_are_json_when_asked(cli: Cli):
    done = cli("runs", "show", "run_x", "--json")
    assert done.out == ""
    error = json.loads(done.err)
    assert error["exitCode"] == 4
    assert error["error"].startswith("There is no run run_x in dev")


def test_runs_are_canceled_and_replayed(cli: Cli, stub: Stub):
    stub.add_run("run_1", "QUEUED")
    stub.add_run("run_2", "QUEUED")
    assert cli("runs", "cancel", "run_1", "run_2").code == 0
    assert {run["status"] for run in stub.runs.values()} == {"CANCELED"}
    assert cli("runs", "replay", "run_1", "--json").json == [
        {"id": "run_1_again", "replayOf": "run_1"}
    ]


def line(number: int) -> dict[str, object]:
    return {
        "time": f"2026-11-24T05:00:0{number}Z",
        "message": f"line {number}",
        "level": "WARN",
        "attributes": {"n": number},
    }


def test_logs_are_printed_over_pages(cli: Cli, stub: Stub):
    stub.logs["run_x"] = [line(n) for n in range(3)]
    done = cli("runs", "logs", "run_x")
    assert [text.split(" ", 1)[1] for text in done.out.splitlines()] == [
        f"WARN  line {n}  n={n}" for n in range(3)
    ]
    records = [json.loads(text) for text in cli("runs", "logs", "run_x", "--json").out.splitlines()]
    assert [record["message"] for record in records] == ["line 0", "line 1", "line 2"]


def test_following_logs_ends_with_the_run_and_repeats_nothing(cli: Cli, stub: Stub):
    stub.add_run("run_x", "EXECUTING", then=["COMPLETED"])
    stub.logs["run_x"] = [line(n) for n in range(3)]
    done = cli("runs", "logs", "run_x", "--follow")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 3


def test_a_person_reaches_an_environment_by_its_project(alice: Cli, stub: Stub):
    assert alice("trigger", "hello", "--env", "staging").code == 0
    asked, triggered = stub.requests
    assert asked.path == f"/api/v1/projects/{PROJECT}/staging"
    assert triggered.headers["authorization"] == f"Bearer {SECRET_KEY}"


def test_options_may_stand_before_the_command(alice: Cli, stub: Stub):
    assert alice("--env", "staging", "--json", "runs", "list").json == []
    assert stub.requests[0].path.endswith("/staging")


def test_a_project_that_is_not_alices_is_exit_code_4(alice: Cli):
    done = alice("runs", "list", "--project", "proj_bobs")
    assert done.code == 4
    assert "proj_bobs" in done.err


def test_no_project_anywhere_says_what_to_do(alice: Cli):
    (alice.folder / "holdfast.toml").unlink()
    done = alice("runs", "list")
    assert done.code == 2
    assert "--project" in done.err


def test_an_environment_that_does_not_exist_is_a_usage_error(alice: Cli):
    done = alice("runs", "list", "--env", "production")
    assert done.code == 2
    assert "'production' is not one of" in done.err


@pytest.mark.parametrize(
    ("status", "code"), [(401, 3), (403, 3), (400, 5), (422, 5), (413, 5), (409, 5)]
)
def test_a_refusal_has_its_code(cli: Cli, stub: Stub, status: int, code: int):
    stub.script(
        Answer(status=status, body={"error": "Why\nnot"}, headers={"x-should-retry": "false"})
    )
    done = cli("trigger", "hello")
    assert (done.code, done.err) == (code, "error: Why not\n")


def test_a_server_that_is_not_there_is_exit_code_7(cli: Cli):
    cli.variables["HOLDFAST_API_URL"] = "http://127.0.0.1:9"
    done = cli("runs", "list")
    assert done.code == 7
    assert "http://127.0.0.1:9" in done.err
    assert done.err.count("\n") == 1
