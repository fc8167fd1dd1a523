"""Bulk actions over the API."""

from __future__ import annotations

import pytest

from apps.core import clock
from apps.core.ids import new_id, parse_public_id, public_id
from apps.runs.operations.bulk import advance_bulk_action
from tests.api import scenes

pytestmark = pytest.mark.django_db
PATH = "/api/v1/bulk-actions"


def made(api, **body):
    answer = api.post(PATH, body)
    assert answer.status == 202, answer.content
    return answer.body["id"]


def work(bulk):
    while advance_bulk_action(parse_public_id("bulk", bulk), clock=clock.now):
        pass


def test_runs_of_a_filter_are_canceled_later(api):
    runs = [scenes.run(api, "resize", tags=["old"]) for _ in range(2)]
    other = scenes.run(api, "resize")
    bulk = made(api, action="cancel", filter={"tag": ["old"], "period": "1d"}, name="old ones")
    shown = api.get(f"{PATH}/{bulk}").ok()
    assert (shown["type"], shown["status"], shown["name"]) == ("CANCEL", "PENDING", "old ones")
    work(bulk)
    shown = api.get(f"{PATH}/{bulk}").ok()
    assert (shown["status"], shown["counts"]) == (
        "COMPLETED",
        {"total": 2, "success": 2, "failure": 0},
    )
    assert {api.get(f"/api/v3/runs/{run}").ok()["status"] for run in runs} == {"CANCELED"}
    assert api.get(f"/api/v3/runs/{other}").ok()["status"] != "CANCELED"
    listed = api.get("/api/v1/runs", {"filter[bulkAction]": bulk}).ok()["data"]
    assert {run["id"] for run in listed} == set(runs)


def test_every_filter_of_a_list_may_be_said(api, acme):
    scenes.version(acme.scope)
    run = scenes.run(api, "resize", tags=["t"], machine="micro")
    bulk = made(
        api,
        action="replay",
        filter={
            "status": ["QUEUED"], "taskIdentifier": "resize", "tag": "t", "isTest": False,
            "queue": {"type": "task", "name": "resize"}, "machine": ["micro", "small-1x"],
            "from": 0, "to": "2100-01-01T00:00:00Z",
        },
    )  # fmt: skip
    work(bulk)
    assert api.get(f"{PATH}/{bulk}").ok()["counts"]["success"] == 1
    [replayed] = api.get("/api/v1/runs", {"filter[bulkAction]": bulk}).ok()["data"]
    assert api.get(f"/api/v3/runs/{replayed['id']}").ok()["replayOf"] == run


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "delete", "filter": {"tag": "x"}}, 400),
        ({"action": "cancel"}, 422),
        ({"action": "cancel", "filter": {}}, 422),
        ({"action": "cancel", "filter": {"tag": "x"}, "runIds": [public_id("run", new_id())]}, 422),
        ({"action": "cancel", "runIds": ["run_1"]}, 400),
        ({"action": "cancel", "filter": {"status": "ASLEEP"}}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(api, body, status):
    assert api.post(PATH, body).status == status


def test_actions_are_listed_and_aborted(api):
    first = made(api, action="cancel", filter={"tag": "a"})
    second = made(api, action="cancel", filter={"tag": "b"})
    page = api.get(PATH, {"page[size]": 1}).ok()
    assert [item["id"] for item in page["data"]] == [second]
    rest = api.get(PATH, {"page[after]": page["pagination"]["next"]}).ok()
    assert [item["id"] for item in rest["data"]] == [first]
    assert api.post(f"{PATH}/{first}/abort").ok() == {"id": first}
    assert api.get(f"{PATH}/{first}").ok()["status"] == "ABORTED"
    work(second)
    answer = api.post(f"{PATH}/{second}/abort")
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")


def test_charlie_finds_no_action_of_acme(api, charlie):
    bulk = made(api, action="cancel", filter={"tag": "a"})
    assert charlie.get(f"{PATH}/{bulk}").status == 404
    assert charlie.post(f"{PATH}/{bulk}/abort").status == 404
    assert charlie.get(PATH).ok()["data"] == []
