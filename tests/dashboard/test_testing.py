"""The page where a task is tried out."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.dashboard.run_requests import read_request
from apps.runs.models import Run
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import trigger, version

pytestmark = pytest.mark.django_db

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}


@pytest.fixture
def mail(acme):
    return version(acme.production, "mail", payload_schema=SCHEMA)


def test_one_chooses_among_the_tasks_of_the_current_version(shipped, visit):
    response = visit().get(at("test"))
    assert {"?task=hello", "?task=resize"} <= set(links(response))


def test_without_a_version_there_is_nothing_to_test(visit):
    assert "Nothing to test yet" in text(visit().get(at("test")))


def test_the_schema_of_the_task_is_there_for_the_form(mail, visit):
    body = visit().get(at("test?task=mail")).getvalue().decode()
    found = body.split('id="payload-schema" type="application/json">')[1].split("</script>")[0]
    assert json.loads(found) == SCHEMA


def test_a_test_is_a_run_that_is_marked_as_one(mail, visit):
    form = {"task": "mail", "payload": '{"to": "alice"}', "tags": "a, b", "delay": "10m"}
    response = visit().post(at("test"), form)
    assert response.status_code == 302
    run = Run.objects.get(pk=parse_public_id("run", response["Location"].rpartition("/")[2]))
    assert (run.task, run.payload, run.tags) == ("mail", '{"to":"alice"}', ["a", "b"])
    assert (run.is_test, run.source, run.status) == (True, "dashboard", "DELAYED")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"payload": "{}"}, "'to' is a required property"),
        ({"payload": "{"}, "Expecting property name"),
        ({"payload": '{"to":"x"}', "delay": "soon"}, "delay 'soon' is neither a duration"),
        ({"payload": '{"to":"x"}', "metadata": "[]"}, "not an object"),
        ({"payload": '{"to":"x"}', "version": "v9"}, "no version 'v9'"),
        ({"payload": '{"to":"x"}', "max_attempts": "many"}, "not a whole number"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_lost(mail, visit, form, said):
    response = visit().post(at("test"), {"task": "mail", "tags": "kept", **form})
    assert response.status_code == 422
    assert said in text(response)
    assert 'value="kept"' in response.getvalue().decode()
    assert not Run.objects.exists()


def test_a_task_that_is_gone_is_not_found(mail, visit):
    assert visit().post(at("test"), {"task": "gone", "payload": "{}"}).status_code == 404


def test_a_test_may_begin_like_a_run(acme, shipped, visit):
    run = trigger(acme.scope, payload='{"n":1}', tags=("blue",), metadata={"step": 2})
    response = visit().get(at(f"test?task=hello&like={public_id('run', run)}"))
    values = response.context["draft"].values
    assert json.loads(values["payload"]) == {"n": 1}
    assert (values["tags"], json.loads(values["metadata"])) == ("blue", {"step": 2})


def test_the_payloads_of_the_latest_runs_are_offered(acme, shipped, visit):
    trigger(acme.scope, payload='{"n":1}')
    trigger(acme.scope, payload='{"n":2}', task="resize")
    said = text(visit().get(at("test/payloads?task=hello")))
    assert '{"n":1}' in said
    assert '{"n":2}' not in said


def test_a_viewer_may_not_test(shipped, visit, viewer):
    client = visit(viewer)
    for path in ("test", "test/payloads"):
        assert client.get(at(path)).status_code == 403
    assert client.post(at("test"), {"task": "hello"}).status_code == 403
    assert not Run.objects.exists()


def test_every_option_of_the_form_is_one_of_the_request():
    asked = read_request(
        "mail",
        {
            "ttl": "1h",
            "queue": "q",
            "concurrency_key": "k",
            "idempotency_key": "i",
            "machine": "small-2x",
            "max_attempts": "4",
            "max_duration": "5m",
            "priority": "30",
            "version": "v1",
        },
        now=NOW,
    )
    assert (asked.payload, asked.metadata, asked.delay_until) == (None, None, None)
    assert (asked.ttl, asked.max_duration_seconds) == (timedelta(hours=1), 300)
    assert (asked.queue, asked.concurrency_key, asked.idempotency_key) == ("q", "k", "i")
    assert (asked.machine, asked.max_attempts, asked.priority_seconds) == ("small-2x", 4, 30)
    assert asked.version == "v1"


@pytest.mark.parametrize("number", ["-1", "1.5", "٣", "1" * 20])
def test_a_number_is_a_whole_one(number):
    with pytest.raises(Invalid):
        read_request("mail", {"max_attempts": number}, now=NOW)


def test_the_number_of_queries_of_the_form(mail, visit, django_assert_num_queries):
    client = visit()
    client.get(at("test?task=mail"))
    with django_assert_num_queries(5):  # session, person, place, version, tasks
        client.get(at("test?task=mail"))
