"""Our own client against a live server: what each writes is what the other reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.runs.states import RunStatus
from holdfast import api_errors
from holdfast.client import BatchItem, SyncHoldfastClient
from tests import factories
from tests.api import scenes


@pytest.fixture
def tenant(web):
    tenant = factories.acme()
    scenes.version(tenant.scope, {**scenes.TASK, "id": "hello-world"})
    return tenant


@pytest.fixture
def client(web, tenant):
    with SyncHoldfastClient(
        api_url=web.url,
        secret_key=tenant.secret,
        access_token=factories.personal_token(tenant.owner),
    ) as client:
        yield client


def test_a_value_comes_back_as_json(client):
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    handle = client.trigger("hello-world", {"when": moment, "big": 2**60}, tags=["a"], delay="1h")

    run = client.runs.retrieve(handle.id)

    assert run.payload == {"when": "2026-11-24T12:00:00.000Z", "big": str(2**60)}
    assert (run.status, run.tags, run.depth) == ("DELAYED", ["a"], 0)
    assert run.reason
    assert run.delayed_until
    assert run.delayed_until > run.created_at


def test_a_large_payload_goes_through_the_store(client):
    text = "x" * 200_000
    handle = client.trigger("hello-world", {"text": text})

    assert client.runs.retrieve(handle.id).payload_presigned_url
    assert client.runs.payload(handle.id) == {"text": text}


def test_a_batch_its_results_and_its_runs(client):
    items = [BatchItem(task="hello-world", payload={"n": n}) for n in range(3)]
    handle = client.batch_trigger(items)
    batch = client.batches.retrieve(handle.id)
    scenes.finish(batch.runs[0], output='{"n":1}')
    scenes.finish(batch.runs[1], RunStatus.FAILED, error={"type": "STRING_ERROR", "raw": "no"})

    results = client.batches.results(handle.id)

    assert handle.run_count == len(batch.runs) == 3
    assert [(result.id, result.ok) for result in results] == [
        (batch.runs[0], True),
        (batch.runs[1], False),
    ]
    assert results[0].output == {"n": 1}


def test_lists_are_read_to_their_end(client):
    made = [client.trigger("hello-world", n).id for n in range(5)]

    listed = [run.id for run in client.runs.list(size=2, task="hello-world")]

    assert listed == made[::-1]


def test_a_run_is_changed(client):
    run = client.trigger("hello-world", None, delay="1h", metadata={"n": 1}).id

    assert client.runs.reschedule(run, delay="2h").status == "DELAYED"
    client.runs.add_tags(run, "a")
    steps = [{"type": "increment", "key": "n", "value": 1}]
    assert client.runs.change_metadata(run, operations=steps) == {"n": 2}
    again = client.runs.replay(run, tags=["b"])
    client.runs.cancel(run)
    assert client.runs.wait(run, timeout=60).status == "CANCELED"
    assert client.runs.retrieve(again.id).tags == ["b"]
    assert next(iter(client.runs.events(run)))["kind"] == "triggered"


def test_a_global_key_is_reset(client):
    first = client.trigger("hello-world", idempotency_key="once")
    assert client.trigger("hello-world", idempotency_key="once").id == first.id

    client.idempotency_keys.reset("hello-world", "once")

    assert client.trigger("hello-world", idempotency_key="once").id != first.id


def test_variables_people_and_keys(client, tenant):
    project = tenant.project.ref
    client.variables.create(project, "prod", "COLOR", "red")

    assert client.variables.retrieve(project, "prod", "COLOR").value == "red"
    assert client.account.whoami(project=project).email == "alice@example.com"
    assert client.account.environment(project, "prod").api_key == tenant.secret
    assert client.account.redeem(client.account.authorize().authorization_code) is None


def test_a_deployment_is_announced_uploaded_and_seen(client):
    handle = client.deployments.create(
        content_hash="abc", python_version="3.11", sdk_version="0.1.0", git={"commitSha": "f00"}
    )
    client.deployments.upload(handle, b"archive")

    shown = client.deployments.retrieve(handle.id)

    assert (shown.status, shown.git) == ("PENDING", {"commitSha": "f00"})
    assert [item.id for item in client.deployments.list()] == [handle.id]


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda client: client.runs.retrieve("run_unknown"), api_errors.NotFoundError),
        (
            lambda client: client.trigger("t", tags=[*map(str, range(11))]),
            api_errors.UnprocessableError,
        ),
        (lambda client: client.trigger("t", machine="huge"), api_errors.BadRequestError),
    ],
)
def test_refusals_are_typed(client, attempt, error):
    with pytest.raises(error):
        attempt(client)
