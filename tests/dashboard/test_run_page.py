"""The page of a run: what it says, what its elements read, and what can be done with it."""

from __future__ import annotations

import json

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core import traces
from apps.core.ids import public_id
from apps.runs.models import Run
from apps.runs.operations.metadata import change_metadata
from apps.telemetry import store as stores
from apps.telemetry.tree import Arrival
from tests import factories
from tests.api.conftest import api
from tests.dashboard.pages import at, text
from tests.runs.engine import get, later, trigger
from tests.telemetry import exports
from tests.telemetry.test_reading_api import tell

__all__ = ["api"]

pytestmark = pytest.mark.django_db

SPAN, CHILD_SPAN = "b7ad6b7169203331", "b7ad6b7169203332"


@pytest.fixture
def run(acme, shipped) -> str:
    return public_id("run", trigger(acme.scope, payload='{"name": "<alice>"}', tags=("blue",)))


def page(client: Client, run: str, rest: str = "", **query):
    return client.get(at(f"runs/{run}{rest}"), query)


# -- What it says ------------------------------------------------------------------------------


def test_it_says_what_the_run_is_doing_and_why(visit, run):
    said = text(page(visit(), run))
    assert "hello" in said
    assert "Queued" in said
    assert "No worker for machine small-1x is connected." in said


def test_values_are_shown_without_being_markup(visit, acme, run):
    change_metadata(acme.scope, run_id=get(run).pk, metadata={"step": "</script><b>"}, now=later(1))
    body = page(visit(), run).getvalue().decode()
    assert "<alice>" not in body
    assert "</script><b>" not in body
    assert "&lt;alice&gt;" in body


def test_an_error_has_its_source_lines(visit, acme, run):
    trace = (
        'Traceback (most recent call last):\n  File "/app/tasks.py", line 7, in sync\n    go()\n'
    )
    Run.objects.filter(pk=get(run).pk).update(
        status="FAILED",
        finished_at=later(5),
        error={"type": "BUILT_IN_ERROR", "name": "KeyError", "message": "no", "stackTrace": trace},
    )
    said = text(page(visit(), run))
    assert "KeyError" in said
    assert "app/tasks.py : 7 in sync go()" in said


def test_relatives_are_linked(visit, acme, run):
    child = public_id("run", trigger(acme.scope, "resize", parent_run_id=get(run).pk))
    body = page(visit(), run).getvalue().decode()
    assert at(f"runs/{child}") in body
    assert at(f"runs/{run}") in page(visit(), child).getvalue().decode()


def test_a_large_value_is_a_link(visit, acme, shipped):
    large = public_id("run", trigger(acme.scope, payload=json.dumps("x" * 300_000)))
    body = page(visit(), large).getvalue().decode()
    assert len(body) < 200_000
    assert at(f"runs/{large}/values/payload") in body
    assert page(visit(), large, "/values/payload").content == json.dumps("x" * 300_000).encode()


def test_a_value_in_object_storage_is_read_from_there(visit, acme, shipped):
    name = f"packets/{acme.production.id}/greeting.json"
    default_storage.save(name, ContentFile(b'"hi"'))
    stored = trigger(acme.scope, payload="greeting.json", payload_type="application/store")
    path = f"/{public_id('run', stored)}/values/payload"
    assert visit().get(at("runs") + path).content == b'"hi"'


@pytest.mark.parametrize("key", ["../{}/secret.json", "./x", "a//b", "nothing.json"])
def test_a_key_of_object_storage_leads_nowhere_else(visit, acme, shipped, key):
    other = factories.globex().production.id
    default_storage.save(f"packets/{other}/secret.json", ContentFile(b"hush"))
    stored = trigger(acme.scope, payload=key.format(other), payload_type="application/store")
    path = f"/{public_id('run', stored)}/values/payload"
    answer = visit().get(at("runs") + path)
    assert (answer.status_code, b"hush" in answer.content) == (404, False)


def test_with_htmx_only_the_part_that_changes_is_answered(visit, run):
    answer = visit().get(at(f"runs/{run}"), headers={"HX-Request": "true"})
    assert b"<html" not in answer.content
    assert b'id="run-details"' in answer.content


def test_the_number_of_queries_does_not_depend_on_the_past_of_the_run(visit, acme, run):
    client = visit()
    page(client, run)
    counts = []
    for size in (2, 30):
        for number in range(size):
            at_time = later(number)
            change_metadata(acme.scope, run_id=get(run).pk, metadata={"n": number}, now=at_time)
            trigger(acme.scope, "resize", parent_run_id=get(run).pk)
        with CaptureQueriesContext(connection) as queries:
            page(client, run)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 26


# -- What its elements read --------------------------------------------------------------------


def test_the_trace_has_the_runs_below_it_and_their_spans(visit, api, acme, run):
    child = public_id("run", trigger(acme.scope, "resize", parent_run_id=get(run).pk))
    tell(api, run, exports.span(SPAN, name="plan"))
    tell(api, child, exports.span(CHILD_SPAN, name="decode"))
    found = page(visit(), run, "/trace").json()
    assert [each["run"] for each in found["runs"]] == [run, child]
    assert found["runs"][1]["parent"] == traces.span_id(get(run).pk)
    assert {(each["name"], each["of"]) for each in found["spans"]} == {
        ("plan", run), ("decode", child),
    }  # fmt: skip
    assert (found["available"], found["next"], found["truncated"]) == (True, None, False)


def test_a_trace_goes_on_from_what_arrived_last(visit, api, run):
    tell(api, run, exports.span(SPAN, name="first"))
    latest = page(visit(), run, "/trace").json()["latest"]
    tell(api, run, exports.span(CHILD_SPAN, name="second"))
    names = {each["name"] for each in page(visit(), run, "/trace", after=latest).json()["spans"]}
    assert "second" in names


@pytest.mark.parametrize("after", ["x", "-1-a", "9" * 20 + "-", "1e3-"])
def test_what_is_no_place_in_a_trace_is_refused(visit, run, after):
    assert page(visit(), run, "/trace", after=after).status_code == 422


def test_looking_back_never_leads_before_the_beginning():
    assert Arrival(arrived_ms=5, span_id="x").back() == Arrival()


def test_a_span_shows_its_attributes(visit, api, run):
    tell(api, run, exports.span(SPAN, name="plan", attributes={"images": 3}))
    said = page(visit(), run, f"/spans/{SPAN}").content.decode()
    assert "plan" in said
    assert "images" in said
    assert "not arrived yet" in text(page(visit(), run, "/spans/0000000000000000"))


def test_the_log_begins_at_its_end_and_goes_both_ways(visit, api, run):
    tell(api, run, *(exports.log(f"line {n}", time=exports.NOON + n) for n in range(1, 6)))
    lines = page(visit(), run, "/logs").json()["lines"]
    assert [line["message"] for line in lines] == [f"line {n}" for n in range(1, 6)]
    before = page(visit(), run, "/logs", before=lines[2]["place"]).json()["lines"]
    assert [line["message"] for line in before] == ["line 1", "line 2"]
    after = page(visit(), run, "/logs", after=lines[2]["place"]).json()["lines"]
    assert [line["message"] for line in after] == ["line 4", "line 5"]
    found = page(visit(), run, "/logs", search="LINE 3").json()["lines"]
    assert [line["message"] for line in found] == ["line 3"]


@pytest.mark.parametrize("place", ["x", "1", "1-x", "-1-0", "9" * 19 + "-0", "1-" + "9" * 20])
def test_what_is_no_place_in_a_log_is_refused(visit, run, place):
    assert page(visit(), run, "/logs", before=place).status_code == 422


def test_the_log_and_the_run_can_be_taken_away(visit, api, run):
    tell(api, run, exports.log("hello there"))
    answer = page(visit(), run, "/logs.txt")
    assert "hello there" in answer.content.decode()
    assert "attachment" in answer["Content-Disposition"]
    whole = page(visit(), run, "/run.json").json()
    assert (whole["id"], whole["tags"], whole["payload"]) == (run, ["blue"], '{"name": "<alice>"}')


def test_without_clickhouse_only_trace_and_log_are_missing(visit, run, monkeypatch):
    nowhere = stores.Store("http://127.0.0.1:9/none")
    monkeypatch.setattr("apps.telemetry.tree.store", lambda: nowhere)
    monkeypatch.setattr("apps.telemetry.queries.store", lambda: nowhere)
    client = visit()
    assert page(client, run).status_code == 200
    trace = page(client, run, "/trace").json()
    assert (trace["available"], [each["run"] for each in trace["runs"]]) == (False, [run])
    assert page(client, run, "/logs").json() == {"lines": [], "available": False, "more": False}
    assert "ClickHouse does not answer" in text(page(client, run, f"/spans/{SPAN}"))


# -- What can be done --------------------------------------------------------------------------


def test_a_run_is_canceled(visit, run):
    answer = visit().post(at(f"runs/{run}/cancellation"))
    assert answer["Location"] == at(f"runs/{run}")
    assert get(run).status == "CANCELED"


def test_a_run_is_replayed_with_the_same_payload(visit, run):
    answer = visit().post(at(f"runs/{run}/replay"), {"payload": "{}", "is_edited": ""})
    replay = get(answer["Location"].rpartition("/")[2])
    assert (replay.replay_of_id, replay.payload) == (get(run).pk, '{"name": "<alice>"}')


def test_a_run_is_replayed_with_another_payload(visit, run):
    answer = visit().post(at(f"runs/{run}/replay"), {"payload": '{"n": 2}', "is_edited": "yes"})
    assert get(answer["Location"].rpartition("/")[2]).payload == '{"n": 2}'


def test_a_payload_that_is_no_json_is_not_replayed(visit, run):
    before = Run.objects.count()
    answer = visit().post(at(f"runs/{run}/replay"), {"payload": "{", "is_edited": "yes"})
    assert (answer.status_code, Run.objects.count()) == (422, before)


def test_a_viewer_sees_everything_and_changes_nothing(visit, viewer, run):
    client = visit(viewer)
    said = page(client, run).content.decode()
    assert 'data-open="cancel"' not in said
    assert 'data-open="replay"' not in said
    assert client.post(at(f"runs/{run}/cancellation")).status_code == 403
    assert client.post(at(f"runs/{run}/replay")).status_code == 403
    assert get(run).status == "QUEUED"


@pytest.mark.parametrize(
    "rest", ["", "/trace", f"/spans/{SPAN}", "/logs", "/logs.txt", "/run.json", "/values/payload"]
)
def test_charlie_finds_nothing(visit, run, rest):
    assert page(visit(factories.charlie()), run, rest).status_code == 404


@pytest.mark.parametrize("rest", ["/cancellation", "/replay"])
def test_charlie_does_nothing(visit, run, rest):
    before = Run.objects.count()
    assert visit(factories.charlie()).post(at(f"runs/{run}{rest}")).status_code == 404
    assert (get(run).status, Run.objects.count()) == ("QUEUED", before)


def test_a_run_of_another_environment_is_not_found(visit, run):
    client = visit()
    for rest in ("", "/trace", "/logs", "/run.json"):
        assert client.get(at(f"runs/{run}{rest}", env="staging")).status_code == 404
