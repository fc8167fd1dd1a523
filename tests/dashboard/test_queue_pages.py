"""Queues and the limits above them: what waits and executes, and what people change about it."""

from __future__ import annotations

import pytest

from apps.core.ids import public_id
from apps.deployments.models import KeyOverride, Queue
from apps.deployments.operations.queues import override_key
from apps.environments.models import Environment
from apps.orgs.models import AuditEntry, Organization
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import Worker, ask

pytestmark = pytest.mark.django_db


@pytest.fixture
def emails(acme, shipped) -> Queue:
    """A queue of two at once for each key and three in total, at ten a second."""
    return Queue.objects.create(
        environment=acme.production, name="emails", type="custom", concurrency_limit=2,
        total_limit=3, rate={"limit": 10, "period": 1, "burst": 5}, max_queued=100, created_at=NOW,
    )  # fmt: skip


@pytest.fixture
def busy(acme, shipped, emails) -> list[str]:
    """Runs of bob that hold both slots of his, behind which two of his wait, and one of carol."""
    worker = Worker(shipped, free=2)
    for _ in range(2):
        ask(acme.scope, queue="emails", concurrency_key="bob", now=NOW)
    works = worker.claim(now=NOW)
    for work in works:
        worker.start(work, now=NOW)
    for key in ("bob", "bob", "carol"):
        ask(acme.scope, queue="emails", concurrency_key=key, now=NOW)
    return [work.run for work in works]


def page_of(queue: Queue, part: str = "") -> str:
    return at(f"queues/{public_id('queue', queue.pk)}{part}")


# -- The list ------------------------------------------------------------------------------------


def test_an_empty_list_shows_how_a_queue_is_declared(visit, acme):
    said = text(visit().get(at("queues")))
    assert "No queues yet" in said
    assert "@task(queue=emails)" in said


def test_queues_are_listed_with_their_load_and_limits(visit, emails, busy):
    response = visit().get(at("queues"))
    assert page_of(emails) in links(response)
    said = text(response)
    assert "emails Custom 3 2 of 3 3 in total, 2 per key 10 per second, 5 at once" in said
    emails.key_rate = {"limit": 2, "period": 20, "burst": None}
    emails.save()
    assert "5 at once each key: 2 per 20 s, in windows" in text(visit().get(at("queues")))


def test_a_list_is_filtered_by_name(visit, emails):
    assert "emails" in text(visit().get(at("queues?name=MAIL")))
    said = text(visit().get(at("queues?name=nothing")))
    assert "No queue has “nothing” in its name" in said


def test_a_queue_is_paused_and_resumed_where_it_is_listed(visit, emails):
    asked = {"from": "list", "query": "?name=mail", "answer": "pause"}
    response = visit().post(page_of(emails, "/pause"), asked)
    assert response.headers["Location"] == at("queues?name=mail")
    emails.refresh_from_db()
    assert emails.paused_at is not None
    assert "Paused" in text(visit().get(at("queues")))
    visit().post(page_of(emails, "/pause"), {**asked, "answer": "resume"})
    emails.refresh_from_db()
    assert emails.paused_at is None


def test_a_pause_leads_nowhere_else(visit, emails):
    asked = {"from": "list", "query": "//example.com", "answer": "pause"}
    response = visit().post(page_of(emails, "/pause"), asked)
    assert response.headers["Location"] == at("queues")


# -- One queue -----------------------------------------------------------------------------------


def test_a_queue_shows_its_keys_and_who_holds_its_slots(visit, emails, busy):
    response = visit().get(page_of(emails))
    said = text(response)
    for run in busy:
        assert at(f"runs/{run}") in links(response)
    assert at("runs?queue=emails") in links(response)
    assert "bob" in said
    assert "carol" in said
    assert "Newest queued runs" in said


def test_a_pause_says_what_will_happen_before_it_does(visit, emails, busy):
    said = text(visit().get(page_of(emails)))
    assert "Nothing more of it starts: 3 wait now" in said
    assert "What executes (2 now) goes on to its end" in said
    response = visit().post(page_of(emails, "/pause"), {"answer": "pause"})
    assert response.headers["Location"] == page_of(emails)
    assert "Resume the queue" in text(visit().get(page_of(emails)))


def test_limits_are_overridden_by_a_person_and_reset(visit, acme, emails):
    visit().post(page_of(emails, "/limits"), {"per_key": "7", "total": ""})
    emails.refresh_from_db()
    assert (emails.override, emails.total_override) == (7, None)
    assert emails.overridden_by == factories.alice().get_full_name()
    assert "Reset to code" in text(visit().get(page_of(emails)))
    visit().post(page_of(emails, "/limits"), {"answer": "reset"})
    emails.refresh_from_db()
    assert emails.override is None
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions)[-2:] == ["queue.overridden", "queue.reset"]


@pytest.mark.parametrize("limit", ["-1", "many", "1000000", "9" * 40, "²"])
def test_a_limit_that_is_none_is_refused_beside_its_field(visit, emails, limit):
    response = visit().post(page_of(emails, "/limits"), {"per_key": limit})
    assert response.status_code == 422
    page = response.content.decode()
    assert 'aria-invalid="true"' in page
    assert limit in page
    emails.refresh_from_db()
    assert emails.override is None


def test_an_override_of_nothing_says_what_is_missing(visit, emails):
    response = visit().post(page_of(emails, "/limits"), {})
    assert response.status_code == 422
    assert "name a limit" in text(response)


def test_one_key_is_limited_for_a_while_and_reset(visit, emails):
    visit().post(page_of(emails, "/key"), {"key": "bob", "limit": "1", "hours": "24"})
    made = KeyOverride.objects.get()
    assert (made.key, made.cap) == ("bob", 1)
    assert "1 at once" in text(visit().get(page_of(emails)))
    visit().post(page_of(emails, "/key"), {"key": "bob", "answer": "reset"})
    assert not KeyOverride.objects.exists()


@pytest.mark.parametrize("asked", [{"key": "", "limit": "1"}, {"key": "bob", "limit": ""}])
def test_a_key_without_a_name_or_limit_is_left_alone(visit, emails, asked):
    visit().post(page_of(emails, "/key"), asked)
    assert not KeyOverride.objects.exists()


def test_what_moves_is_fetched_alone(visit, emails, busy):
    response = visit().get(page_of(emails), headers={"HX-Request": "true"})
    assert "Who holds the slots" in text(response)
    assert "<html" not in response.content.decode()


# -- Concurrency ---------------------------------------------------------------------------------


def test_limits_stand_from_the_organization_down(visit, acme, emails, busy):
    Organization.objects.filter(pk=acme.organization.pk).update(concurrency_limit=50)
    Environment.objects.filter(pk=acme.production.pk).update(concurrency_limit=20, burst_factor=1.5)
    response = visit().get(at("concurrency"))
    said = text(response)
    assert "2 of 50" in said
    assert "2 of 30" in said
    assert "One queue alone may use 20 slots" in said
    assert page_of(emails) in links(response)
    assert at(f"runs/{busy[0]}") in links(response)


def test_without_limits_the_page_says_how_to_set_one(visit, acme):
    said = text(visit().get(at("concurrency")))
    assert "without a limit" in said
    assert "No queue has a limit" in said
    assert "no run executes now" in said


# -- The page of a run ---------------------------------------------------------------------------


def test_a_run_names_who_holds_the_slots_that_it_waits_for(visit, acme, emails, busy):
    waiting = ask(acme.scope, queue="emails", concurrency_key="bob", now=NOW).run_id
    response = visit().get(at(f"runs/{public_id('run', waiting)}"))
    assert "2 of 2 slots held by" in text(response)
    assert at(f"runs/{busy[0]}") in links(response)
    assert at("queues?name=emails") in links(response)


# -- Who may, and what it costs ------------------------------------------------------------------


def test_a_viewer_sees_queues_and_changes_none(visit, viewer, emails):
    client = visit(viewer)
    said = text(client.get(page_of(emails)))
    assert "Pause the queue" not in said
    assert "Override the limits" not in said
    for part, asked in (
        ("/pause", {"answer": "pause"}), ("/limits", {"total": "0"}),
        ("/key", {"key": "bob", "limit": "0"}),
    ):  # fmt: skip
        assert client.post(page_of(emails, part), asked).status_code == 403
    emails.refresh_from_db()
    assert (emails.paused_at, emails.total_override) == (None, None)
    assert not KeyOverride.objects.exists()


@pytest.mark.parametrize("page", ["queues", "queues/{}", "concurrency"])
def test_charlie_finds_nothing_of_acme(visit, emails, page):
    charlie = factories.charlie()
    factories.globex()
    assert visit(charlie).get(at(page.format(public_id("queue", emails.pk)))).status_code == 404


def test_an_unknown_queue_is_not_found(visit, acme):
    assert visit().get(at("queues/queue_1")).status_code == 404


@pytest.mark.parametrize(
    ("page", "queries"), [("queues", 6), ("queues/{}", 14), ("concurrency", 10)]
)
def test_a_page_costs_the_same_for_few_and_many(
    visit, acme, emails, busy, page, queries, django_assert_max_num_queries
):
    for number in range(20):
        Queue.objects.create(
            environment=acme.production, name=f"more-{number}", concurrency_limit=1, created_at=NOW
        )
        ask(acme.scope, queue="emails", concurrency_key=f"key-{number}", now=NOW)
    override_key(acme.scope, name="emails", key="bob", per_key=5, now=NOW)
    client, address = visit(), at(page.format(public_id("queue", emails.pk)))
    client.get(address)
    with django_assert_max_num_queries(queries):
        client.get(address)
