"""The proof of the contract: the unmodified public client drives a live server."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.runs.operations.waitpoints import complete_due
from apps.runs.states import RunStatus
from holdfast import packets
from tests import factories
from tests.api import scenes
from tests.contract.node import installed, node

VERSIONS = ("4.8.3", "4.5.12")
SECONDS = 60

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.fixture(params=VERSIONS)
def drive(request, web):
    """Runs a scenario with one version of the client; returns what it found."""
    folder = installed(request.param)
    tenant = factories.acme()
    scenes.version(
        tenant.scope,
        {**scenes.TASK, "id": "hello-world"},
        {**scenes.TASK, "id": "strict", "payloadSchema": SCHEMA},
        queues=[{"name": "shared", "concurrencyLimit": 2, "totalLimit": 5}],
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TRIGGER_API_URL": web.url,
        "TRIGGER_SECRET_KEY": tenant.secret,
        "HOLDFAST_PROJECT": tenant.project.ref,
        "HOLDFAST_PERSON": factories.personal_token(tenant.owner),
    }

    def run(scenario: str) -> Any:
        with subprocess.Popen(
            [*node(), "scenarios.mjs", scenario],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                return _converse(process)
            finally:
                process.kill()

    return run


def _converse(process: subprocess.Popen[str]) -> Any:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        said = json.loads(line)
        if "result" in said:
            return said["result"]
        if "timeOut" in said:
            complete_due(clock.now() + timedelta(hours=2))
        else:
            _finish(**said["finish"])
        process.stdin.write("done\n")
        process.stdin.flush()
    raise AssertionError(process.stderr.read())


def _finish(
    run: str, status: str | None = None, output: Any = None, error: Any = None, dates: Any = None
) -> None:
    if output is None:
        scenes.finish(run, RunStatus(status or ("FAILED" if error else "COMPLETED")), error=error)
        return
    body: dict[str, Any] = {"json": output}
    if dates:
        body["meta"] = {"values": {path: ["Date"] for path in dates}}
    scenes.finish(run, output=json.dumps(body), output_type=packets.SUPERJSON)


def test_trigger_and_retrieve(drive):
    found = drive("trigger")

    run = found["run"]
    assert found["handle"]["id"] == run["id"]
    assert run["taskIdentifier"] == "hello-world"
    assert found["token"].count(".") == 2
    assert run["payload"] == {
        "a": 1, "when": "1970-01-01T00:00:00.000Z", "big": "12", "set": [1],
    }  # fmt: skip
    assert (run["status"], run["isQueued"], run["ttl"], run["tags"]) == (
        "QUEUED", True, "600s", ["user_1", "x:y"],
    )  # fmt: skip
    assert run["metadata"] == {"p": 1}
    assert found["createdAtIsADate"]
    assert found["startedAtIsAbsent"]
    assert (found["nothing"], found["text"]) == ("absent", "plain")


def test_batches_in_two_phases(drive):
    found = drive("batches")

    assert (found["runCount"], len(found["runs"]), found["status"]) == (2, 2, "PROCESSING")
    assert found["payloads"] == [{"n": 1}, {"n": 2}, {"n": 3}, "text"]
    assert found["tags"] == ["t"]
    assert found["oks"] == [True, True]
    assert found["finalStatus"] == "COMPLETED"


def test_lists_and_their_pages(drive):
    found = drive("listing")

    assert found["paged"] == found["made"][::-1]
    assert found["filtered"] == [found["made"][3], found["made"][1]]
    assert found["env"]["name"] == "Production"
    assert found["backEqualsFirst"]
    assert found["person"] == 6


def test_cancel_reschedule_replay(drive):
    found = drive("acting")

    assert found["movedTo"] == "2031-01-01T00:00:00.000Z"
    assert found["canceled"] == found["again"] == found["id"]
    assert found["polled"] == {"status": "CANCELED", "isCancelled": True}
    assert found["replayed"] != found["id"]
    assert found["replay"] == {"a": 1}


def test_polls_end_however_the_run_ends(drive):
    found = drive("polling")

    assert found["done"] == {
        "status": "COMPLETED",
        "output": {"when": "1970-01-01T00:00:00.000Z"},
        "isSuccess": True,
    }
    assert found["failed"] == {
        "status": "FAILED",
        "error": {"name": "ValueError", "message": "no", "stackTrace": "at x"},
        "isFailed": True,
    }
    assert found["late"] == "TIMED_OUT"
    assert (found["result"]["ok"], found["failure"]["ok"]) == (True, False)
    assert found["pending"] == "absent"
    assert found["events"][0] == "triggered"


def test_tags_and_metadata_from_inside_a_task(drive):
    found = drive("labels")

    assert found["tags"] == ["a", "b", "c"]
    assert found["read"] == {"n": 3, "log": ["x"], "state": {"at": "y"}}
    assert found["refreshed"] == found["shown"] == {"replaced": True}


def test_idempotency_keys_and_their_reset(drive):
    found = drive("idempotency")

    assert found["first"] == found["second"] != found["third"]
    assert found["cached"] is True
    assert found["shown"] == "once"


def test_variables_by_key_and_in_person(drive):
    found = drive("variables")

    assert found["listed"] == [
        {"name": "MANY", "value": "1", "isSecret": False},
        {"name": "PLAIN", "value": "two", "isSecret": False},
    ]
    assert found["one"] == {"name": "PLAIN", "value": "two", "isSecret": False}
    assert found["left"] == ["PLAIN"]
    assert found["asPerson"] == []
    assert (found["gone"]["kind"], found["elsewhere"]["kind"]) == ("NotFoundError",) * 2
    assert found["invalid"]["kind"] == "BadRequestError"


def test_public_tokens_that_the_client_signs_itself(drive):
    found = drive("tokens")

    assert (found["read"], found["fromHandle"]) == ({"a": 1}, True)
    assert (found["refused"]["kind"], found["unfit"]["kind"]) == ("PermissionDeniedError",) * 2
    assert (found["started"], found["batched"]) == ({"a": 3}, 1)
    assert found["twice"]["kind"] == "UnprocessableEntityError"


def test_a_debounced_run_is_pushed_on(drive):
    found = drive("debouncing")

    assert found["leading"] == found["trailing"] == [True, True]
    assert found["first"] == {"status": "DELAYED", "payload": {"n": 1}, "delayed": True}
    assert found["last"] == {"payload": {"n": 4}, "tags": ["n_4"]}


def test_queues_are_read_paused_and_overridden(drive):
    found = drive("queueing")

    assert found["names"] == [["custom", "shared"], ["task", "hello-world"], ["task", "strict"]]
    assert found["shared"] == {"queued": 2, "running": 0, "limit": 2}
    assert (found["byId"], found["paused"]) == ("shared", [True, False])
    nobody = {"overriddenBy": None}
    assert found["overridden"] == nobody | {
        "current": 7, "base": None, "override": 7, "overriddenAt": True,
    }  # fmt: skip
    assert found["reset"] == nobody | {
        "current": None, "base": None, "override": None, "overriddenAt": None,
    }  # fmt: skip
    assert (found["unknown"]["kind"], found["high"]["kind"]) == ("NotFoundError", "BadRequestError")


def test_concurrency_limits_of_queues_and_of_their_keys(drive):
    found = drive("limiting")
    if found is None:
        return

    bound = {"override": None, "overriddenAt": None}
    assert found["listed"] == {
        "name": "shared", "id": "climit", "perKey": bound | {"current": 2, "base": 2},
        "total": bound | {"current": 5, "base": 5},
    }  # fmt: skip
    assert found["overridden"] == [1, 3, 5]
    assert found["ofKey"] == {"current": 5, "base": 1, "override": 5, "expiresAt": True}
    assert found["view"] == ["vip", 0, 5]
    assert found["cleared"] == {"current": 1, "base": 1, "override": None, "expiresAt": None}
    assert found["paused"] == [True, False]
    assert found["reset"] == bound | {"current": 5, "base": 5}
    assert found["unknown"]["kind"] == "NotFoundError"


def test_every_refusal_is_the_class_that_clients_catch_and_is_not_retried(drive):
    found = drive("refusals")

    assert {name: found[name]["kind"] for name in found if name != "retriedNothing"} == {
        "unknown": "NotFoundError",
        "unauthorized": "AuthenticationError",
        "tags": "UnprocessableEntityError",
        "delay": "UnprocessableEntityError",
        "machine": "BadRequestError",
        "debounce": "UnprocessableEntityError",
        "schema": "UnprocessableEntityError",
        "reschedule": "UnprocessableEntityError",
    }
    assert "a run may have 10 tags, this one would have 11" in found["tags"]["message"]
    assert "$.n: 'not a number' is not of type 'integer'" in found["schema"]["message"]
    assert found["retriedNothing"]


def test_tokens_made_completed_and_listed(drive):
    found = drive("waitpoints")

    assert found["cached"] == [False, True, True]
    assert found["token"] == 3
    assert f"/api/v1/waitpoints/tokens/{found['id']}/callback/" in found["url"]
    assert found["open"] == {"status": "WAITING", "tags": ["a", "b"], "key": "wk", "timed": True}
    assert found["done"] == {"success": True}
    assert found["value"] == {
        "status": "COMPLETED",
        "output": {"approved": True, "at": "1970-01-01T00:00:00.000Z"},
        "completed": True,
    }
    assert (found["browser"], found["called"]) == ("from a browser", {"paid": 7})
    assert found["refused"]["kind"] == "PermissionDeniedError"
    assert (found["answer"], found["forged"]) == ([200, {"success": True}], 401)
    assert found["over"]["status"] == "TIMED_OUT"
    assert found["over"]["error"] == "The token was not completed in time"
    assert (found["listed"], found["waiting"], found["keyed"]) == (4, 0, 1)
    assert found["tagged"] == [found["id"]]


def test_inputs_sent_and_read_as_a_stream(drive):
    found = drive("inputs")

    assert found["told"] == [
        {"approved": True}, "from a browser", {"late": [1]}, {"late": [1]},
    ]  # fmt: skip
    assert found["parts"] == [["0", "number"], ["1", "number"], ["2", "number"]]
    assert found["end"] is True
    assert found["made"] == [False, False, True]
    assert found["refused"]["kind"] == "PermissionDeniedError"
    assert (found["over"]["kind"], found["over"]["status"]) == ("BadRequestError", 400)


def test_a_large_payload_is_offloaded_and_read_back(drive):
    found = drive("large")

    assert found["same"] is True
    assert found["small"] == 100 * 1024
