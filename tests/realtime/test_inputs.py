"""The stream of what is sent to an input of a run."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.environments import public_tokens
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.inputs import Item, send_input
from holdfast.packets import SUPERJSON
from tests import factories
from tests.realtime.listening import PATIENCE
from tests.runs.engine import trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(acme):
    return public_id("run", trigger(acme.scope, now=clock.now()))


def send(acme, run, data, *, key="chat", **options):
    item = Item(key=key, data=json.dumps(data), **options)
    send_input(acme.scope, run_id=parse_public_id("run", run), item=item, now=clock.now())


def end(acme, run):
    cancel_run(acme.scope, run_id=parse_public_id("run", run), now=clock.now())


@contextmanager
def reading(server, run, secret, *, key="chat", **headers):
    """The response to a read of an input, open."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{server.url}/realtime/v1/streams/{run}/input/{key}"
    with (
        httpx.Client(timeout=httpx.Timeout(PATIENCE)) as client,
        client.stream("GET", url, headers=sent | {"authorization": f"Bearer {secret}"}) as response,
    ):
        yield response


def records(lines):
    """What a stream tells, one record after the other."""
    for line in lines:
        if line.startswith("data: "):
            yield from json.loads(line.removeprefix("data: "))["records"]


def values(found):
    return [json.loads(record["body"])["data"] for record in found]


def test_what_was_sent_is_told_and_then_what_is_sent_until_the_run_ends(server, acme, run):
    send(acme, run, {"n": 1}, part="mine")
    send(acme, run, "elsewhere", key="other")
    with reading(server, run, acme.secret) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-stream-version"] == "v2"
        told = records(response.iter_lines())
        first = next(told)
        assert (first["seq_num"], json.loads(first["body"])) == (
            0,
            {"id": "mine", "data": {"n": 1}},
        )
        send(acme, run, 2)
        second = next(told)
        assert (second["seq_num"], values([second])) == (1, [2])
        end(acme, run)
        assert list(told) == []  # the stream is over, by itself


def test_a_stream_goes_on_after_the_last_event(server, acme, run):
    for number in range(45):  # more than a page
        send(acme, run, number)
    end(acme, run)
    with reading(server, run, acme.secret) as response:
        assert values(records(response.iter_lines())) == list(range(45))
    with reading(server, run, acme.secret, last_event_id="42") as response:
        assert values(records(response.iter_lines())) == [43, 44]


def test_what_python_sends_is_told_as_json(server, acme, run):
    for data, kind in (('{"json":{"a":1},"meta":{}}', SUPERJSON), ("plain", "text/plain")):
        item = Item(key="chat", data=data, data_type=kind)
        send_input(acme.scope, run_id=parse_public_id("run", run), item=item, now=clock.now())
    end(acme, run)
    with reading(server, run, acme.secret) as response:
        assert values(records(response.iter_lines())) == [{"a": 1}, "plain"]


def test_a_stream_may_begin_with_what_comes_next(server, acme, run):
    send(acme, run, "old")
    with reading(server, run, acme.secret, x_trigger_stream_start="latest") as response:
        lines = response.iter_lines()
        # a beat says that it has looked, and found nothing
        assert any(line.startswith(":") for line in lines)
        send(acme, run, "new")
        end(acme, run)
        assert values(records(lines)) == ["new"]


def test_a_stream_of_nothing_ends_after_its_time(server, acme, run):
    with reading(server, run, acme.secret, timeout_seconds="1") as response:
        assert list(records(response.iter_lines())) == []


@pytest.mark.parametrize(
    "headers",
    [{"timeout_seconds": "601"}, {"timeout_seconds": "x"}, {"last_event_id": "-1"},
     {"last_event_id": "9" * 30}],
)  # fmt: skip
def test_headers_that_make_no_sense_are_refused(server, acme, run, headers):
    with reading(server, run, acme.secret, **headers) as response:
        assert response.status_code == 422


def test_who_may_read_a_run_may_read_its_inputs(server, acme, run):
    other = public_id("run", trigger(acme.scope, now=clock.now()))
    end(acme, run)
    lifetime = timedelta(hours=1)
    token = public_tokens.sign(
        acme.production.id, [f"read:runs:{run}"], lifetime=lifetime, now=clock.now()
    )
    statuses = []
    for name, secret in (
        (run, acme.secret), (run, token), (other, token), (run, factories.globex().secret),
        (run, "tr_prod_wrong"),
    ):  # fmt: skip
        with reading(server, name, secret) as response:
            statuses.append(response.status_code)
    assert statuses == [200, 200, 403, 404, 401]
