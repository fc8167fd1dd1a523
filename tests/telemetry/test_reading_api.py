"""GET /api/v1/runs/:id/logs, …/trace, …/spans/:id: pages, filters, and who may look."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apps.core import traces
from apps.core.ids import new_id, public_id
from apps.runs.states import RunStatus
from apps.telemetry import store as stores
from apps.telemetry.operations import intake
from tests.api import scenes
from tests.api.client import Api
from tests.telemetry import exports

pytestmark = pytest.mark.django_db

SECONDS = 30
OUTER, INNER, LATE = "b7ad6b7169203331", "b7ad6b7169203332", "b7ad6b7169203333"


@pytest.fixture
def run(api, acme) -> str:
    scenes.version(acme.scope)
    return scenes.run(api)


def tell(api: Api, run: str, *records: Any, attempt: int = 1) -> None:
    """Deliver spans or log records of a run, and wait until they are written."""
    resource = {"holdfast__run_id": run, "holdfast__attempt": attempt}
    is_log = hasattr(records[0], "body")
    export = exports.logs(*records, **resource) if is_log else exports.traces(*records, **resource)
    path = "/otel/v1/logs" if is_log else "/otel/v1/traces"
    body = export.SerializeToString()
    assert api.post(path, body, content_type="application/x-protobuf").status == 200
    assert intake.buffer().flush(SECONDS)


def logs(api: Api, run: str, **query: Any) -> Any:
    names = {"size": "page[size]", "after": "page[after]"}
    named = {names.get(key, f"filter[{key}]"): value for key, value in query.items()}
    return api.get(f"/api/v1/runs/{run}/logs", named).ok()


def messages(answer: Any) -> list[str]:
    return [line["message"] for line in answer["data"]]


def test_a_run_that_said_nothing_has_no_lines(api, run):
    assert logs(api, run) == {"data": [], "pagination": {}}


def test_lines_are_read_back_whole(api, run):
    tell(
        api,
        run,
        exports.log(
            "disk is full",
            severity=17,
            span=OUTER,
            time=exports.NOON + 123_456_789,
            attributes={"free": 0, "path": "/", "ratio": float("nan"), "deep": {"a": [1]}},
        ),
        attempt=2,
    )
    assert logs(api, run)["data"] == [
        {
            "time": "2026-11-24T12:00:00.123456Z",
            "level": "ERROR",
            "message": "disk is full",
            "attributes": {"free": 0, "path": "/", "ratio": "nan", "deep": {"a": [1]}},
            "attempt": 2,
            "spanId": OUTER,
        }
    ]


def test_lines_are_in_the_order_of_their_time_however_they_arrive(api, run):
    tell(api, run, exports.log("third", time=exports.NOON + 3), exports.log("first"))
    tell(api, run, exports.log("second", time=exports.NOON + 2))
    assert messages(logs(api, run)) == ["first", "second", "third"]


def test_pages_follow_each_other_without_a_gap_even_within_one_instant(api, run):
    tell(api, run, *[exports.log(f"line {n}", time=exports.NOON + n // 4) for n in range(10)])
    seen, after, pages = [], None, 0
    while True:
        answer = logs(api, run, size=3, **({"after": after} if after else {}))
        seen += messages(answer)
        pages += 1
        if "next" not in answer["pagination"]:
            break
        after = answer["pagination"]["next"]
    assert seen == [f"line {n}" for n in range(10)]
    assert pages == 4


def test_a_follower_asks_again_after_the_latest_line_it_has(api, run):
    tell(api, run, exports.log("one"))
    latest = logs(api, run)["pagination"]["latest"]
    nothing_new = logs(api, run, after=latest)
    assert nothing_new == {"data": [], "pagination": {"latest": latest}}
    tell(api, run, exports.log("two", time=exports.NOON + 1))
    answer = logs(api, run, after=latest)
    assert messages(answer) == ["two"]
    assert answer["pagination"].keys() == {"latest"}


def test_an_export_that_a_client_repeats_shows_once(api, run):
    for _ in range(3):
        tell(api, run, exports.log("once"), exports.log("once"))
    assert messages(logs(api, run)) == ["once", "once"]


def test_pages_are_full_even_where_an_export_was_repeated(api, run):
    for _ in range(4):
        tell(api, run, *[exports.log(f"line {n}", time=exports.NOON + n) for n in range(6)])
    first = logs(api, run, size=4)
    assert messages(first) == ["line 0", "line 1", "line 2", "line 3"]
    second = logs(api, run, size=4, after=first["pagination"]["next"])
    assert messages(second) == ["line 4", "line 5"]
    assert "next" not in second["pagination"]


def test_lines_are_filtered_by_level_and_by_text(api, run):
    tell(
        api,
        run,
        exports.log("Started", severity=5),
        exports.log("halfway", time=exports.NOON + 1, severity=13),
        exports.log("it broke: ÜBEL", time=exports.NOON + 2, severity=17),
    )
    assert messages(logs(api, run, level="warn, ERROR")) == ["halfway", "it broke: ÜBEL"]
    assert messages(logs(api, run, search="STARTED")) == ["Started"]
    assert messages(logs(api, run, search="übel")) == ["it broke: ÜBEL"]
    assert messages(logs(api, run, search="%")) == []
    assert messages(logs(api, run, search="it", level="DEBUG")) == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"page[size]": "0"}, "page[size]"),
        ({"page[size]": "1001"}, "page[size]"),
        ({"page[size]": "many"}, "page[size]"),
        ({"page[size]": "99999999999999999999"}, "page[size]"),
        ({"page[after]": "nonsense"}, "cursor"),
        ({"page[after]": "ffffffffffffffffffff.1"}, "cursor"),
        ({"page[after]": "1.-1"}, "cursor"),
        ({"filter[level]": "LOUD"}, "filter[level]"),
    ],
)
def test_a_bad_question_is_refused_with_a_sentence(api, run, query, sentence):
    answer = api.get(f"/api/v1/runs/{run}/logs", query)
    assert answer.status == 400
    assert sentence in answer.error


@pytest.mark.parametrize("path", ["logs", "trace", "trace?page[size]=5", f"spans/{OUTER}"])
def test_charlie_sees_nothing_of_acmes_run(api, charlie, run, path):
    tell(api, run, exports.log("secret"))
    tell(api, run, exports.span(OUTER, "secret"))
    answer = charlie.get(f"/api/v1/runs/{run}/{path}")
    assert answer.status == 404
    assert b"secret" not in answer.content


@pytest.mark.parametrize("path", ["logs", "trace", f"spans/{OUTER}"])
def test_a_run_that_is_not_there_is_not_found(api, path):
    assert api.get(f"/api/v1/runs/{public_id('run', new_id())}/{path}").status == 404
    assert api.get(f"/api/v1/runs/nonsense/{path}").status == 404


def test_rows_that_charlie_forges_for_acmes_run_are_not_shown(api, charlie, run):
    tell(api, run, exports.log("true"))
    tell(charlie, run, exports.log("forged", time=exports.NOON + 1))
    tell(charlie, run, exports.span(OUTER, "forged"))
    assert messages(logs(api, run)) == ["true"]
    assert api.get(f"/api/v1/runs/{run}/spans/{OUTER}").status == 404


def test_the_trace_is_a_tree_below_the_run(api, run):
    root = traces.span_id(scenes.uuid_of(run))
    tell(
        api,
        run,
        exports.span(INNER, "inner", parent=OUTER, start=exports.NOON + 5, status=2),
        exports.span(OUTER, "outer", parent=root, attributes={"n": 1}),
    )
    trace = api.get(f"/api/v1/runs/{run}/trace").ok()["trace"]
    assert trace["traceId"] == scenes.uuid_of(run).hex
    top = trace["rootSpan"]
    assert (top["id"], top["runId"], top["data"]["message"]) == (root, run, "resize")
    assert top["data"]["taskSlug"] == "resize"
    assert top["data"]["isPartial"] is True
    (outer,) = top["children"]
    assert (outer["id"], outer["parentId"]) == (OUTER, root)
    assert outer["data"] == {
        "message": "outer",
        "startTime": "2026-11-24T12:00:00.000000Z",
        "duration": 1.0,
        "isError": False,
        "isPartial": False,
        "isCancelled": False,
        "level": "TRACE",
        "attemptNumber": 1,
        "properties": {"n": 1},
        "events": [],
    }
    (inner,) = outer["children"]
    assert (inner["data"]["isError"], inner["children"]) == (True, [])


def test_a_final_span_replaces_its_partial_one_whichever_comes_first(api, run):
    tell(api, run, exports.span(OUTER, "begun", end=0))
    tell(api, run, exports.span(LATE, "late"))
    tell(api, run, exports.span(OUTER, "ended"), exports.span(LATE, "late partial", end=0))
    children = api.get(f"/api/v1/runs/{run}/trace").ok()["trace"]["rootSpan"]["children"]
    assert sorted(child["data"]["message"] for child in children) == ["ended", "late"]
    assert not any(child["data"]["isPartial"] for child in children)


def test_the_trace_is_read_in_pages_the_run_first(api, run):
    ids = [f"b7ad6b71692033{n:02x}" for n in range(5)]
    tell(api, run, *[exports.span(i, i, start=exports.NOON + n // 2) for n, i in enumerate(ids)])
    seen, after = [], None
    while True:
        query = {"page[size]": "2"} | ({"page[after]": after} if after else {})
        answer = api.get(f"/api/v1/runs/{run}/trace", query).ok()
        assert len(answer["data"]) <= 2
        seen += [span["id"] for span in answer["data"]]
        after = answer["pagination"].get("next")
        if after is None:
            break
    assert seen == [traces.span_id(scenes.uuid_of(run)), *ids]


def test_a_page_of_one_is_the_run_and_says_whether_there_is_more(api, run):
    answer = api.get(f"/api/v1/runs/{run}/trace", {"page[size]": "1"}).ok()
    assert [span["message"] for span in answer["data"]] == ["resize"]
    assert answer["pagination"] == {}
    tell(api, run, exports.span(OUTER))
    answer = api.get(f"/api/v1/runs/{run}/trace", {"page[size]": "1"}).ok()
    after = answer["pagination"]["next"]
    more = api.get(f"/api/v1/runs/{run}/trace", {"page[size]": "1", "page[after]": after}).ok()
    assert [span["id"] for span in more["data"]] == [OUTER]
    assert more["pagination"] == {}


def test_one_span_shows_what_it_says(api, run):
    event = Span.Event(time_unix_nano=exports.NOON, name="cache miss")
    tell(api, run, exports.span(OUTER, "work", attributes={"n": 1}, events=[event]))
    found = api.get(f"/api/v1/runs/{run}/spans/{OUTER}").ok()
    assert (found["id"], found["runId"], found["message"]) == (OUTER, run, "work")
    assert found["properties"] == {"n": 1}
    assert found["events"] == [
        {"time": "2026-11-24T12:00:00.000000Z", "name": "cache miss", "attributes": {}}
    ]


def test_a_run_is_a_span_too_and_shows_the_runs_it_triggered(api, run):
    child = scenes.run(api, parentRunId=run)
    found = api.get(f"/api/v1/runs/{run}/spans/{traces.span_id(scenes.uuid_of(run))}").ok()
    assert [triggered["id"] for triggered in found["triggeredRuns"]] == [child]
    trace = api.get(f"/api/v1/runs/{run}/trace").ok()["trace"]
    assert [node["runId"] for node in trace["rootSpan"]["children"]] == [child]


def test_a_failed_run_is_an_error_in_its_trace(api, run):
    scenes.finish(run, RunStatus.FAILED, error={"type": "STRING_ERROR", "raw": "no"})
    root = api.get(f"/api/v1/runs/{run}/trace").ok()["trace"]["rootSpan"]
    assert (root["data"]["isError"], root["data"]["isPartial"]) == (True, False)


@pytest.mark.parametrize("path", ["logs", "trace", "trace?page[size]=5", f"spans/{OUTER}"])
def test_while_clickhouse_is_away_only_telemetry_says_so(api, run, settings, path):
    settings.CLICKHOUSE_URL = "http://127.0.0.1:9/default"
    stores.store.cache_clear()
    try:
        answer = api.get(f"/api/v1/runs/{run}/{path}")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "5"
        assert "ClickHouse does not answer. Runs go on" in answer.error
        assert api.get(f"/api/v3/runs/{run}").status == 200
    finally:
        stores.store.cache_clear()
