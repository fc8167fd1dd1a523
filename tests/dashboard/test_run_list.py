"""The list of runs: filters in the address, pages, what is done with several, and exports."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.messages import get_messages
from django.http import QueryDict
from django.test import AsyncClient, Client

from apps.core.ids import new_id, public_id
from apps.dashboard import run_filters
from apps.dashboard.run_filters import read_filters
from apps.runs import search
from apps.runs.models import Run
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import get, later, trigger

pytestmark = pytest.mark.django_db


def filters(query: str):
    return read_filters(QueryDict(query), now=NOW)


def shown(run) -> str:
    return public_id("run", run)


def listed(response) -> list[str]:
    """The ids of the runs on a page, from the top."""
    return [run.pk for run in response.context["found"].items]


# -- Filters -----------------------------------------------------------------------------------


def test_every_filter_is_read_from_the_address():
    batch = new_id()
    found = filters(
        "status=FAILED&status=CRASHED&task=a&tag=blue&tag=red&version=v1&queue=q&test=no&root=yes"
        f"&period=24h&to=2026-11-24T10:00&batch={public_id('batch', batch)}"
    ).search
    assert found.statuses == ("FAILED", "CRASHED")
    assert (found.tasks, found.tags, found.versions) == (("a",), ("blue", "red"), ("v1",))
    assert (found.queues, found.is_test, found.only_roots) == (("q",), False, True)
    assert found.batch_id == batch
    assert found.created_from == NOW - timedelta(hours=24)
    assert found.created_to == NOW.replace(hour=10)


def test_the_search_takes_an_id_a_tag_or_a_task():
    run = new_id()
    assert filters(f"q={shown(run)}").search.run_id == run
    assert filters("q=%23blue").search.tags == ("blue",)
    assert filters("q=resize").search.tasks == ("resize",)


@pytest.mark.parametrize(
    "query", ["status=MOON", "period=soon", "batch=x", "from=yesterday", "test=maybe", "q=run_x"]
)
def test_what_means_nothing_is_named_and_left_out(query):
    found = filters(query)
    assert found.search == search.RunSearch()
    assert len(found.problems) == 1
    assert not found.is_any


@pytest.mark.parametrize("query", ["tag=%00", "task=", "tag=" + "x" * 300, "after=nothing"])
def test_what_cannot_be_is_ignored(query):
    assert filters(query).is_any


def test_a_cursor_that_is_none_is_the_beginning(visit, acme, shipped):
    run = trigger(acme.scope)
    assert listed(visit().get(at("runs?after=nothing"))) == [run]


def test_a_chip_takes_only_itself_away():
    chips = filters("status=FAILED&status=CRASHED&q=x").chips
    assert [(chip.name, chip.value) for chip in chips] == [
        ("Status", "Failed"), ("Status", "Crashed"),
    ]  # fmt: skip
    assert chips[0].without == "?status=CRASHED&q=x"


# -- The page ----------------------------------------------------------------------------------


def test_runs_are_shown_with_their_status_and_a_link(acme, shipped, visit):
    run = trigger(acme.scope, tags=("blue",), is_test=True)
    response = visit().get(at("runs"))
    assert "Queued" in text(response)
    assert "blue" in text(response)
    assert at(f"runs/{shown(run)}") in links(response)


def test_a_filter_narrows_the_page(acme, shipped, visit):
    trigger(acme.scope)
    mine = trigger(acme.scope, task="resize")
    assert listed(visit().get(at("runs?task=resize"))) == [mine]


def test_htmx_gets_the_list_alone(acme, shipped, visit):
    trigger(acme.scope)
    response = visit().get(at("runs"), headers={"HX-Request": "true"})
    body = response.getvalue().decode()
    assert "<html" not in body
    assert "<table" in body
    assert response.headers["Vary"] == "HX-Request, Cookie"


def test_pages_link_to_their_neighbours(acme, shipped, visit, monkeypatch):
    monkeypatch.setattr(run_filters, "PAGE_SIZE", 2)
    runs = [trigger(acme.scope) for _ in range(3)][::-1]
    client = visit()
    first = client.get(at("runs?task=hello"))
    (older,) = {link for link in links(first) if "after=" in link}
    second = client.get(at("runs") + older)
    assert (listed(first), listed(second)) == (runs[:2], runs[2:])
    (newer,) = {link for link in links(second) if "before=" in link}
    assert "task=hello" in newer
    assert listed(client.get(at("runs") + newer)) == runs[:2]


def test_the_oldest_come_first_when_asked_for_and_pages_go_both_ways(
    acme, shipped, visit, monkeypatch
):
    monkeypatch.setattr(run_filters, "PAGE_SIZE", 2)
    runs = [trigger(acme.scope) for _ in range(3)]
    client = visit()
    first = client.get(at("runs?sort=oldest&task=hello"))
    (newer,) = {link for link in links(first) if "after=" in link}
    second = client.get(at("runs") + newer)
    assert (listed(first), listed(second)) == (runs[:2], runs[2:])
    (older,) = {link for link in links(second) if "before=" in link}
    assert {"sort=oldest", "task=hello"} < set(older.strip("?").split("&"))
    assert listed(client.get(at("runs") + older)) == runs[:2]
    assert "Oldest first." in text(first)
    assert first.context["filters"].chips[0].name == "Task", "the order is no filter"
    assert len(first.context["filters"].chips) == 1


def test_the_number_of_queries_does_not_depend_on_the_number_of_runs(
    acme, shipped, visit, django_assert_num_queries
):
    client, scope = visit(), acme.scope
    client.get(at("runs"))
    for _ in range(2):
        for _ in range(4):
            trigger(scope, tags=("blue", "red"))
        with django_assert_num_queries(5):  # session, person, place, cursor, runs
            client.get(at("runs"))
        with django_assert_num_queries(6):  # and how far it may look
            client.get(at("runs?status=QUEUED"))


def test_an_empty_list_teaches_what_to_do_first(visit, viewer):
    response = visit().get(at("runs"))
    assert "No runs yet" in text(response)
    assert "holdfast dev" in text(response)
    assert at("test") in links(response)
    assert at("test") not in links(visit(viewer).get(at("runs")))


def test_a_filter_that_nothing_fits_offers_to_be_cleared(acme, shipped, visit):
    trigger(acme.scope)
    response = visit().get(at("runs?status=CRASHED"))
    assert "No run matches" in text(response)
    assert at("runs") in links(response)


def test_a_search_that_stopped_says_how_far_it_went_and_goes_on(acme, shipped, visit, monkeypatch):
    monkeypatch.setattr(search, "MOST_SCANNED", 2)
    rare = trigger(acme.scope, delay_until=later(60))
    for _ in range(3):
        trigger(acme.scope)
    client = visit()
    first = client.get(at("runs?status=DELAYED"))
    assert "Nothing so far" in text(first)
    (further,) = {link for link in links(first) if "after=" in link}
    assert listed(client.get(at("runs") + further)) == [rare]


def test_the_task_menu_offers_the_tasks_of_the_current_version(acme, shipped, visit):
    response = visit().get(at("runs/tasks?task=old"))
    assert {"hello", "resize", "old"} <= set(text(response).split())


# -- Several at once ---------------------------------------------------------------------------


def said(response) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_chosen_runs_are_canceled(acme, shipped, visit):
    runs = [trigger(acme.scope) for _ in range(3)]
    form = {"run": [shown(run) for run in runs[:2]], "back": at("runs?task=hello")}
    response = visit().post(at("runs/cancellations"), form)
    assert response.headers["Location"] == at("runs?task=hello")
    assert said(response)[0].startswith("Canceled 2 runs.")
    assert [get(run).status for run in runs] == ["CANCELED", "CANCELED", "QUEUED"]


def test_chosen_runs_are_replayed(acme, shipped, visit):
    run = trigger(acme.scope, payload='{"n":1}')
    response = visit().post(at("runs/replays"), {"run": [shown(run)]})
    assert response.headers["Location"] == at("runs")
    replay = Run.objects.get(replay_of_id=run)
    assert replay.payload == '{"n":1}'


def test_a_strangers_run_is_left_alone_and_said(acme, shipped, visit):
    globex = factories.globex()
    theirs = trigger(globex.scope)
    response = visit().post(at("runs/cancellations"), {"run": [shown(theirs)]})
    assert said(response) == ["1 could not be: Not found"]
    assert get(theirs).status != "CANCELED"


@pytest.mark.parametrize("back", ["https://elsewhere.example", "//elsewhere.example", "/admin/"])
def test_the_way_back_leads_nowhere_else(acme, shipped, visit, back):
    run = trigger(acme.scope)
    response = visit().post(at("runs/replays"), {"run": [shown(run)], "back": back})
    assert response.headers["Location"] == at("runs")


def test_choosing_nothing_is_said_where_one_was(visit):
    there = f"http://testserver{at('runs?task=hello')}"
    response = visit().post(at("runs/replays"), headers={"referer": there})
    assert response.headers["Location"] == there
    assert said(response) == ["No run was selected"]


def test_a_viewer_sees_no_boxes_and_changes_nothing(acme, shipped, visit, viewer):
    run = trigger(acme.scope)
    client = visit(viewer)
    assert 'name="run"' not in client.get(at("runs")).getvalue().decode()
    response = client.post(at("runs/cancellations"), {"run": [shown(run)]})
    assert response.status_code == 403
    assert get(run).status == "QUEUED"


def test_a_form_of_another_site_is_refused(acme, shipped):
    run = trigger(acme.scope)
    client = Client(enforce_csrf_checks=True)
    client.force_login(factories.alice())
    response = client.post(at("runs/cancellations"), {"run": [shown(run)]})
    assert response.status_code == 403
    assert get(run).status == "QUEUED"


# -- Exports -----------------------------------------------------------------------------------


def download(path: str):
    """An export as the server streams it, and what is in it."""
    client = AsyncClient()
    client.force_login(factories.alice())

    async def fetch():
        response = await client.get(at(path))
        return response, b"".join([part async for part in response.streaming_content]).decode()

    return async_to_sync(fetch)()


def test_what_is_filtered_is_exported_as_csv(acme, shipped):
    trigger(acme.scope)
    run = trigger(acme.scope, task="resize", tags=("=cmd", "blue"))
    response, content = download("runs?export=csv&task=resize")
    assert response.headers["Content-Disposition"].startswith('attachment; filename="runs-acme')
    (row,) = csv.DictReader(io.StringIO(content))
    assert (row["id"], row["task"], row["status"]) == (shown(run), "resize", "QUEUED")
    assert row["tags"] == "'=cmd blue"


def test_what_is_filtered_is_exported_as_json(acme, shipped, monkeypatch):
    monkeypatch.setattr(search, "_EXPORTED_AT_ONCE", 2)
    runs = [trigger(acme.scope) for _ in range(3)]
    _, content = download("runs?export=json")
    assert [row["id"] for row in json.loads(content)] == [shown(run) for run in runs[::-1]]
    _, oldest = download("runs?export=json&sort=oldest")
    assert [row["id"] for row in json.loads(oldest)] == [row["id"] for row in json.loads(content)][
        ::-1
    ]
    _, nothing = download("runs?export=json&status=CRASHED")
    assert json.loads(nothing) == []


def test_no_other_form_of_export_is_known(visit):
    assert visit().get(at("runs?export=xml")).status_code == 404
