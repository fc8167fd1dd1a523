"""Runs, variables, deployments and the account, each against the stub."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast import api_errors
from holdfast.client import HoldfastClient, SyncHoldfastClient
from packages.holdfast.tests.client.stub import ACCESS_TOKEN, PROJECT, SECRET_KEY, Answer, Stub


def test_a_run_is_typed(client: SyncHoldfastClient, stub: Stub):
    stub.add_run("run_x", "FAILED", error={"message": "no", "name": "E"}, surprise=1, version="v")
    run = client.runs.retrieve("run_x")
    assert run.task == "hello"
    assert run.created_at == datetime(2026, 11, 24, 5, tzinfo=UTC)
    assert run.error is not None
    assert run.error.message == "no"
    assert run.is_final
    assert not run.is_success


def test_an_unknown_run_is_not_found_at_once(client: SyncHoldfastClient, stub: Stub):
    with pytest.raises(api_errors.NotFoundError, match="run_x"):
        client.runs.retrieve("run_x")
    assert len(stub.requests) == 1


def test_a_large_output_is_downloaded(client: SyncHoldfastClient, stub: Stub):
    stub.blobs["out"] = (b'{"json":[1,2]}', "application/super+json")
    stub.add_run("run_x", outputPresignedUrl=f"{stub.url}/blob/out?sig=1")
    assert client.runs.retrieve("run_x").output == [1, 2]
    assert "authorization" not in stub.requests[1].headers


def test_a_list_goes_on_over_all_pages(client: SyncHoldfastClient, stub: Stub):
    for number in range(5):
        stub.add_run(f"run_{number}")
    assert [run.id for run in client.runs.list(size=2)] == [f"run_{n}" for n in range(5)]
    assert [r.query.get("page[after]") for r in stub.requests] == [None, "2", "4"]


async def test_an_async_list_goes_on_over_all_pages(async_client: HoldfastClient, stub: Stub):
    for number in range(5):
        stub.add_run(f"run_{number}")
    ids = [run.id async for run in async_client.runs.list(size=2)]
    assert ids == [f"run_{n}" for n in range(5)]


def test_a_list_reads_no_further_than_asked(client: SyncHoldfastClient, stub: Stub):
    for number in range(5):
        stub.add_run(f"run_{number}")
    assert next(iter(client.runs.list(size=1))).id == "run_0"
    assert len(stub.requests) == 1


async def test_the_first_page_has_the_cursor(async_client: HoldfastClient, stub: Stub):
    for number in range(3):
        stub.add_run(f"run_{number}")
    page = await async_client.runs.list(size=2).first()
    assert page.next == "2"
    assert len(page.data) == 2


def test_filters_are_comma_joined(client: SyncHoldfastClient, stub: Stub):
    client.runs.list(
        status=["QUEUED", "EXECUTING"],
        task="hello",
        is_test=False,
        created_from=datetime(2026, 1, 1, tzinfo=UTC),
    ).first()
    assert stub.requests[0].query == {
        "filter[status]": "QUEUED,EXECUTING",
        "filter[taskIdentifier]": "hello",
        "filter[isTest]": "false",
        "filter[createdAt][from]": "2026-01-01T00:00:00+00:00",
    }


def test_waiting_polls_until_the_run_has_ended(client: SyncHoldfastClient, stub: Stub):
    stub.add_run("run_x", "QUEUED", then=["EXECUTING", "COMPLETED"])
    assert client.runs.wait("run_x", every=0.001).status == "COMPLETED"
    assert len(stub.requests) == 3


async def test_waiting_gives_up_after_the_timeout(async_client: HoldfastClient, stub: Stub):
    stub.add_run("run_x", "EXECUTING")
    with pytest.raises(TimeoutError, match="EXECUTING"):
        await async_client.runs.wait("run_x", timeout=0.01, every=0.002)


def test_a_run_is_canceled_replayed_tagged_and_rescheduled(client: SyncHoldfastClient, stub: Stub):
    stub.add_run("run_x", "DELAYED")
    client.runs.add_tags("run_x", "a")
    assert client.runs.reschedule("run_x", delay="1h").status == "DELAYED"
    client.runs.cancel("run_x")
    assert stub.runs["run_x"]["status"] == "CANCELED"
    assert client.runs.replay("run_x", {"n": 2}, version="20261124.2").id == "run_x_again"
    tagged, rescheduled, _, replayed = stub.requests
    assert tagged.json == {"tags": ["a"]}
    assert rescheduled.json == {"delay": "1h"}
    assert replayed.json == {
        "payload": '{"json":{"n":2}}',
        "payloadType": "application/super+json",
        "version": "20261124.2",
    }


def test_metadata_is_read_and_changed(client: SyncHoldfastClient, stub: Stub):
    stub.add_run("run_x")
    assert client.runs.change_metadata("run_x", metadata={"p": 1}) == {"p": 1}
    assert client.runs.metadata("run_x") == {"p": 1}
    client.runs.change_metadata("run_x", operations=[{"type": "set", "key": "a", "value": 1}])
    assert stub.requests[-1].json == {"operations": [{"type": "set", "key": "a", "value": 1}]}


def test_a_result_is_none_until_the_end_and_then_decoded(client: SyncHoldfastClient, stub: Stub):
    assert client.runs.result("run_x") is None
    stub.results["run_x"] = {
        "ok": True,
        "id": "run_x",
        "output": '{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}',
        "outputType": "application/super+json",
    }
    result = client.runs.result("run_x")
    assert result is not None
    assert result.output == {"at": datetime(2026, 1, 1, tzinfo=UTC)}


def test_a_stored_result_is_downloaded(client: SyncHoldfastClient, stub: Stub):
    stub.blobs["packets/1"] = (b'{"json":7}', "application/super+json")
    stub.results["run_x"] = {
        "ok": True,
        "id": "run_x",
        "output": "packets/1",
        "outputType": "application/store",
    }
    result = client.runs.result("run_x")
    assert result is not None
    assert result.output == 7


def test_events_and_logs_are_listed(client: SyncHoldfastClient, stub: Stub):
    stub.logs["run_x"] = [{"time": "2026-11-24T05:00:00Z", "message": str(n)} for n in range(3)]
    assert client.runs.events("run_x") == [{"run": "run_x", "name": "created"}]
    assert [line.message for line in client.runs.logs("run_x")] == ["0", "1", "2"]


def test_variables_have_a_whole_life(client: SyncHoldfastClient, stub: Stub):
    client.variables.create(PROJECT, "dev", "A", "1")
    client.variables.import_all(PROJECT, "dev", {"B": "2"}, is_secret=True)
    client.variables.update(PROJECT, "dev", "A", "3")
    listed = client.variables.list(PROJECT, "dev")
    assert [(v.name, v.value, v.is_secret) for v in listed] == [("A", "3", False), ("B", "", True)]
    assert client.variables.retrieve(PROJECT, "dev", "A").value == "3"
    client.variables.delete(PROJECT, "dev", "A")
    with pytest.raises(api_errors.NotFoundError):
        client.variables.delete(PROJECT, "dev", "A")


def test_a_deployment_is_created_uploaded_and_finalized(client: SyncHoldfastClient, stub: Stub):
    handle = client.deployments.create(
        content_hash="abc", python_version="3.11", sdk_version="0.1.0"
    )
    client.deployments.upload(handle, b"archive")
    client.deployments.finalize(handle.id, promote=False)
    assert stub.deployment["archive"] == b"archive"
    assert client.deployments.retrieve(handle.id).status == "BUILDING"
    assert client.deployments.retrieve(handle.id).version == "20261124.1"
    uploaded = stub.of("PUT", "/archive$")[0]
    assert uploaded.headers["authorization"] == f"Bearer {SECRET_KEY}"
    assert stub.of("POST", "/finalize$")[0].json == {"promote": False}


def test_an_archive_for_another_host_goes_there_without_the_key(
    client: SyncHoldfastClient, stub: Stub
):
    handle = client.deployments.create(content_hash="a", python_version="3.11", sdk_version="0")
    elsewhere = stub.url.replace("127.0.0.1", "localhost")
    client.deployments.upload(
        type(handle)(id=handle.id, upload_url=f"{elsewhere}/blob/archive"), b"archive"
    )
    assert stub.blobs["archive"][0] == b"archive"
    assert "authorization" not in stub.requests[-1].headers


def test_a_version_is_promoted_and_listed(client: SyncHoldfastClient, stub: Stub):
    client.deployments.create(content_hash="abc", python_version="3.11", sdk_version="0.1.0")
    client.deployments.promote("20261124.1")
    assert stub.requests[-1].path == "/api/v1/deployments/20261124.1/promote"
    assert [d.id for d in client.deployments.list()] == ["deployment_1"]


def test_a_development_version_is_registered(client: SyncHoldfastClient, stub: Stub):
    manifest = {"sdkVersion": "0.1.0", "pythonVersion": "3.11.9", "contentHash": "h", "tasks": []}
    version = client.deployments.register(PROJECT, manifest)
    assert version.version == "20261124.1"
    body = stub.requests[0].json
    assert body["localOnly"] is True
    assert body["metadata"]["packageVersion"] == "0.1.0"
    assert body["metadata"]["contentHash"] == "h"


def test_the_account_uses_the_access_token(client: SyncHoldfastClient, stub: Stub):
    assert client.account.whoami().email == "alice@example.com"
    access = client.account.environment(PROJECT, "dev")
    assert access.api_key == SECRET_KEY
    assert SECRET_KEY not in repr(access)
    assert {r.headers["authorization"] for r in stub.requests} == {f"Bearer {ACCESS_TOKEN}"}


def test_a_device_login_is_redeemed_once_it_is_approved(client: SyncHoldfastClient, stub: Stub):
    code = client.account.authorize()
    assert code.url.startswith(stub.url)
    assert client.account.redeem(code.authorization_code) is None
    assert client.account.redeem(code.authorization_code) == ACCESS_TOKEN
    assert all("authorization" not in r.headers for r in stub.requests)


def test_a_page_that_is_none_says_so(client: SyncHoldfastClient, stub: Stub):
    stub.script(Answer(body=[1]))
    with pytest.raises(api_errors.MalformedAnswerError, match="page"):
        client.runs.list().first()
