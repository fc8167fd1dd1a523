"""Schedules, tokens, batches and bulk actions: seen by all, changed by those who may."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser

import pytest

from apps.core.ids import public_id
from apps.runs.models import BulkAction, Waitpoint
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.bulk import create_bulk_action
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.operations.waitpoints import create_token
from apps.runs.queries import RunFilters
from apps.runs.states import BulkKind
from apps.schedules.models import Schedule
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import version

pytestmark = pytest.mark.django_db

FORM = {"task": "hello", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Paris", "missed": "skip"}


@pytest.fixture
def schedule(acme, shipped) -> Schedule:
    request = ScheduleRequest(task="hello", cron="0 9 * * MON-FRI", timezone="Europe/Paris")
    return create_schedule(acme.scope, request=request, deduplication_key="daily", now=NOW)


@pytest.fixture
def token(acme) -> Waitpoint:
    made = create_token(acme.scope, timeout_at=NOW + timedelta(days=1), tags=("sign",), now=NOW)
    return Waitpoint.objects.get(pk=made.waitpoint_id)


@pytest.fixture
def bulk_action(acme) -> BulkAction:
    filters = RunFilters(tasks=("hello",))
    return create_bulk_action(acme.scope, kind=BulkKind.REPLAY, filters=filters, now=NOW)


def page_of(schedule: Schedule, part: str = "") -> str:
    return at(f"schedules/{public_id('sched', schedule.pk)}{part}")


class _Fields(HTMLParser):
    """What a browser would send of a page's fields."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name = ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in {"input", "select", "textarea"} and "name" in given:
            self._name = given["name"]
            self.found[self._name] = given.get("value") or ""
        elif tag == "option" and "selected" in given:
            self.found[self._name] = given["value"]

    def handle_endtag(self, tag):
        if tag == "textarea":
            self._name = ""

    def handle_data(self, data):
        if self.lasttag == "textarea" and self._name:
            self.found[self._name] = data


def fields(page: str) -> dict[str, str]:
    parser = _Fields()
    parser.feed(page)
    return {name: value for name, value in parser.found.items() if name != "csrfmiddlewaretoken"}


# -- Schedules -----------------------------------------------------------------------------------


def test_an_empty_list_shows_how_a_schedule_is_declared(visit, acme):
    said = text(visit().get(at("schedules")))
    assert "Nothing runs by itself yet" in said
    assert "@task(schedule=" in said


def test_schedules_are_said_in_words(visit, schedule):
    response = visit().get(at("schedules"))
    assert "At 09:00, Monday through Friday" in text(response)
    assert page_of(schedule) in links(response)


def test_the_calendar_shows_what_comes(visit, schedule):
    said = text(visit().get(at("schedules?view=calendar")))
    assert "1 run" in said
    assert "hello" in said


def test_a_schedule_shows_its_next_times(visit, schedule):
    said = text(visit().get(page_of(schedule)))
    assert "Next times" in said
    assert "Europe/Paris" in said


def test_the_form_makes_a_schedule(visit, acme, shipped):
    response = visit().post(at("schedules/new"), FORM)
    made = Schedule.objects.get()
    assert response.headers["Location"] == page_of(made)
    assert (made.cron, made.timezone, made.missed) == ("0 9 * * MON-FRI", "Europe/Paris", "skip")


@pytest.mark.parametrize(
    ("field", "value"), [("cron", "61 * * * *"), ("timezone", "Mars/Base"), ("task", "nothing")]
)
def test_the_form_says_what_is_wrong_and_keeps_the_rest(visit, acme, shipped, field, value):
    response = visit().post(at("schedules/new"), {**FORM, field: value})
    assert response.status_code == 422
    assert not Schedule.objects.exists()
    page = response.content.decode()
    assert 'aria-invalid="true"' in page or "It was not made" in page
    assert (value if field == "cron" else FORM["cron"]) in page


OF_RUNS = {
    "payload": '{"region": "eu"}', "metadata": '{"by": "alice"}', "tags": "eu, daily",
    "ttl": "10m", "queue": "reports", "concurrency_key": "k", "machine": "small-2x",
    "max_attempts": "2", "max_duration": "90s", "priority": "30.5",
}  # fmt: skip


def test_the_form_takes_what_runs_get_and_the_page_shows_it(visit, acme, shipped):
    visit().post(at("schedules/new"), {**FORM, **OF_RUNS})
    made = Schedule.objects.get()
    assert made.payload == '{"region":"eu"}'
    assert made.options == {
        "metadata": {"by": "alice"}, "tags": ["eu", "daily"], "ttl": 600, "queue": "reports",
        "concurrencyKey": "k", "machine": "small-2x", "maxAttempts": 2, "maxDuration": 90,
        "priority": 30.5,
    }  # fmt: skip
    said = text(visit().get(page_of(made)))
    for shown in ("region", "eu", "alice", "reports", "small-2x", "600 s", "30.5 s"):
        assert shown in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payload", "{"),
        ("metadata", "[]"),
        ("machine", "huge"),
        ("max_attempts", "9999"),
        ("priority", "inf"),
        ("every", "soon"),
    ],
)
def test_the_form_says_what_of_the_runs_is_wrong(visit, acme, shipped, field, value):
    response = visit().post(at("schedules/new"), {**FORM, field: value})
    assert response.status_code == 422
    assert not Schedule.objects.exists()
    assert f'id="{field}-error"' in response.content.decode()


def test_a_schedule_is_edited_and_saved_as_it_was_shown(visit, acme, shipped):
    packet = '{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}'
    request = ScheduleRequest(
        task="hello", interval_seconds=90, jitter_seconds=5, missed="all", missed_limit=3,
        external_id="user_1", payload=packet, payload_type="application/super+json",
        options={"ttl": 0, "priority": 1.5, "tags": ["a"], "queue": "q", "metadata": {"a": 1}},
    )  # fmt: skip
    made = create_schedule(acme.scope, request=request, deduplication_key="k", now=NOW)
    before = Schedule.objects.values().get()
    page = visit().get(page_of(made, "/edit")).content.decode()
    form = fields(page)
    assert visit().post(page_of(made, "/edit"), form).headers["Location"] == page_of(made)
    assert Schedule.objects.values().get() == before

    visit().post(page_of(made, "/edit"), {**form, "payload": "7", "every": "", "cron": "@daily"})
    made.refresh_from_db()
    assert (made.payload, made.payload_type) == ("7", "application/json")
    assert (made.cron, made.interval_seconds, made.missed_limit) == ("0 0 * * *", None, 3)


def test_an_edit_that_is_refused_says_so_and_changes_nothing(visit, schedule):
    response = visit().post(page_of(schedule, "/edit"), {**FORM, "cron": "61 * * * *"})
    assert response.status_code == 422
    assert "61 * * * *" in response.content.decode()
    schedule.refresh_from_db()
    assert schedule.missed == "one"


def test_a_schedule_whose_run_would_be_refused_says_so(visit, acme, schedule):
    version(acme.production, "other", number="20261124.9")
    assert "Its next run would be refused" in text(visit().get(page_of(schedule)))


def test_a_schedule_is_switched_off_and_on(visit, schedule):
    visit().post(page_of(schedule, "/activation"), {"active": "no"})
    schedule.refresh_from_db()
    assert not schedule.is_active
    visit().post(page_of(schedule, "/activation"), {"active": "yes"})
    schedule.refresh_from_db()
    assert schedule.is_active


def test_a_schedule_is_deleted(visit, schedule):
    response = visit().post(page_of(schedule, "/deletion"))
    assert response.headers["Location"] == at("schedules")
    assert not Schedule.objects.exists()


def test_a_viewer_sees_schedules_and_changes_none(visit, viewer, schedule):
    client = visit(viewer)
    assert "New schedule" not in text(client.get(at("schedules")))
    assert client.get(at("schedules/new")).status_code == 403
    client.post(page_of(schedule, "/deletion"))
    assert Schedule.objects.exists()


# -- Tokens --------------------------------------------------------------------------------------


def test_an_empty_list_shows_how_to_wait(visit, acme):
    assert "wait.create_token" in text(visit().get(at("tokens")))


def test_tokens_are_listed_by_status_and_tag(visit, token):
    name = public_id("waitpoint", token.pk)
    assert name in text(visit().get(at("tokens?status=WAITING&tag=sign")))
    assert "No token is like that" in text(visit().get(at("tokens?status=COMPLETED")))


def test_a_person_completes_a_token_once(visit, token):
    page = at(f"tokens/{public_id('waitpoint', token.pk)}")
    visit().post(f"{page}/completion", {"output": '{"approved": true}'})
    token.refresh_from_db()
    assert token.output == '{"approved": true}'
    visit().post(f"{page}/completion", {"output": "2"})
    token.refresh_from_db()
    assert token.output == '{"approved": true}'
    assert "approved" in text(visit().get(page))


def test_an_answer_that_is_no_json_completes_nothing(visit, token):
    page = at(f"tokens/{public_id('waitpoint', token.pk)}")
    visit().post(f"{page}/completion", {"output": "{"})
    token.refresh_from_db()
    assert token.completed_at is None


def test_a_viewer_completes_no_token(visit, viewer, token):
    visit(viewer).post(at(f"tokens/{public_id('waitpoint', token.pk)}/completion"), {})
    token.refresh_from_db()
    assert token.completed_at is None


# -- Batches and bulk actions --------------------------------------------------------------------


def test_a_batch_shows_its_items_in_order(visit, acme, shipped):
    made = create_batch(acme.scope, run_count=2, now=NOW)
    items = [
        BatchItemRequest(index=n, request=TriggerRequest(task=task))
        for n, task in enumerate(["hello", "resize"])
    ]
    add_batch_items(acme.scope, batch_id=made.batch_id, items=items, now=NOW)
    name = public_id("batch", made.batch_id)

    assert at(f"batches/{name}") in links(visit().get(at("batches")))
    said = text(visit().get(at(f"batches/{name}")))
    assert said.index("hello") < said.index("resize")
    assert "Batch of 2" in said


def test_a_bulk_action_is_shown_and_stopped(visit, bulk_action):
    page = at(f"bulk-actions/{public_id('bulk', bulk_action.pk)}")
    assert page in links(visit().get(at("bulk-actions")))
    assert "Replay runs" in text(visit().get(page))
    visit().post(f"{page}/abortion")
    bulk_action.refresh_from_db()
    assert bulk_action.status == "ABORTED"


@pytest.mark.parametrize("page", ["schedules", "tokens", "batches", "bulk-actions"])
def test_each_list_costs_the_same_for_few_and_many(
    visit, acme, schedule, token, bulk_action, page, django_assert_max_num_queries
):
    client = visit()
    client.get(at(page))
    with django_assert_max_num_queries(8):
        client.get(at(page))


@pytest.mark.parametrize(
    "page", ["schedules/{}", "tokens/{}", "batches/{}", "bulk-actions/{}", "schedules/sched_1"]
)
def test_charlie_finds_nothing_of_acme(visit, acme, schedule, token, bulk_action, page):
    charlie = factories.charlie()
    factories.globex()
    for thing in (
        public_id("sched", schedule.pk), public_id("waitpoint", token.pk),
        public_id("bulk", bulk_action.pk),
    ):  # fmt: skip
        assert visit(charlie).get(at(page.format(thing))).status_code == 404
