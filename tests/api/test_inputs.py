"""Inputs over HTTP: sent by a key or in a browser, and waited for by a run's own code."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import override_settings

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.environments import public_tokens
from apps.runs.limits import Limits
from apps.runs.models import Input, Waitpoint
from apps.runs.operations.cancel import cancel_run
from tests.api.client import Api
from tests.runs import engine


@pytest.fixture
def run(acme):
    """A run that nobody has started yet."""
    return public_id("run", engine.trigger(acme.scope, now=clock.now()))


def path(run, key="approval"):
    return f"/realtime/v1/streams/{run}/input/{key}"


def kept():
    return [
        (item.key, item.seq, item.data, item.data_type) for item in Input.objects.order_by("number")
    ]


def browser(tenant, *scopes):
    lifetime = timedelta(hours=1)
    token = public_tokens.sign(tenant.production.id, scopes, lifetime=lifetime, now=clock.now())
    return Api(token)


def test_items_are_kept_as_json(api, run):
    assert api.post(path(run), {"data": {"ok": True}}).ok() == {
        "ok": True, "seq": 0, "isCached": False,
    }  # fmt: skip
    for body in ({"data": None}, {}, {"data": "text"}):
        assert api.post(path(run), body).ok()["ok"] is True
    assert [json.loads(data) for _, _, data, _ in kept()] == [{"ok": True}, None, None, "text"]


def test_a_packet_that_is_encoded_already_is_kept_as_it_is(api, run):
    body = {"data": '{"json":"2026-01-01","meta":{}}', "dataType": "application/super+json"}
    api.post(path(run), body).ok()
    assert kept() == [("approval", 0, body["data"], body["dataType"])]
    assert api.post(path(run), {"data": 7, "dataType": "application/json"}).status == 400


def test_a_name_may_have_anything_in_it(api, run):
    api.post(path(run, "chat/7%20ü"), {"data": 1}).ok()
    assert kept()[0][0] == "chat/7 ü"


def test_the_same_part_is_kept_once(api, run):
    first = api.post(path(run), {"data": 1}, **{"x-part-id": "p"}).ok()
    again = api.post(path(run), {"data": 1}, **{"x-part-id": "p"}).ok()
    assert (first["seq"], again["seq"], again["isCached"]) == (0, 0, True)


def test_a_browser_may_send_to_the_run_that_its_token_names(acme, run):
    other = public_id("run", engine.trigger(acme.scope, now=clock.now()))
    caller = browser(acme, f"write:inputStreams:{run}")
    caller.post(path(run), {"data": 1}).ok()
    assert "write:inputStreams" in caller.post(path(other), {"data": 1}).error
    assert browser(acme, f"read:runs:{run}").post(path(run), {"data": 1}).status == 403
    browser(acme, "write:inputStreams").post(path(other), {"data": 1}).ok()


def test_a_run_that_has_ended_takes_nothing(acme, api, run):
    cancel_run(acme.scope, run_id=parse_public_id("run", run), now=clock.now())
    answer = api.post(path(run), {"data": 1})
    assert (answer.status, answer.error) == (400, "A run that has ended takes no input")


def test_what_is_too_large_is_refused(api, run):
    with override_settings(LIMITS=Limits(input_bytes=10)):
        assert api.post(path(run), {"data": "x" * 20}).status == 413
    assert not Input.objects.exists()


def test_charlie_sends_nothing(charlie, run):
    assert charlie.post(path(run), {"data": 1}).status == 404


def test_a_wait_is_made_and_completed_by_the_item_that_it_is_for(api, run):
    wait = f"/api/v1/runs/{run}/input-streams/wait"
    body = {"streamId": "approval", "timeout": "1h", "tags": "a", "lastSeqNum": 0}
    made = api.post(wait, body).ok()
    point = Waitpoint.objects.get(pk=parse_public_id("waitpoint", made["waitpointId"]))
    assert (made["isCached"], point.kind, point.seq, point.tags) == (False, "input", 1, ["a"])
    assert point.due_at - point.created_at == timedelta(hours=1)

    for number in range(2):
        api.post(path(run), {"data": number}).ok()
    point.refresh_from_db()
    assert point.output == "1"

    first = api.post(wait, {"streamId": "approval", "idempotencyKey": "k"}).ok()
    again = api.post(wait, {"streamId": "approval", "idempotencyKey": "k"}).ok()
    assert again == first | {"isCached": True}


@pytest.mark.parametrize(
    "body", [{}, {"streamId": ""}, {"streamId": "x" * 256}, {"streamId": "a", "lastSeqNum": -2}]
)
def test_a_wait_that_makes_no_sense_is_refused(api, run, body):
    assert api.post(f"/api/v1/runs/{run}/input-streams/wait", body).status in {400, 422}
    assert not Waitpoint.objects.exists()
