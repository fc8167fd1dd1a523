from datetime import timedelta

import pytest

from apps.core import clock
from apps.orgs.models import AuditEntry
from apps.runs.models import Lane, QueueSlots
from apps.runs.operations.duties import lapse_overrides
from apps.runs.operations.versions import apply_queues
from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

IMAGES = {
    **scenes.TASK,
    "id": "images/resize all",
    "queue": {"name": "images", "concurrencyLimit": 2},
}
NIGHTLY = {**scenes.TASK, "id": "a/b c"}


@pytest.fixture
def shop(api, acme):
    """Acme with a task of its own queue and one in a shared queue, which has two runs."""
    scenes.version(acme.scope, NIGHTLY, IMAGES)
    for key in ("one", "two"):
        scenes.run(api, "images%2Fresize%20all", concurrencyKey=key)
    return api


def test_queues_are_listed_with_their_load(shop):
    page = shop.get("/api/v1/queues").ok()

    assert page["pagination"] == {"currentPage": 1, "totalPages": 1, "count": 2}
    images, nightly = page["data"]
    assert (images["name"], images["type"], images["queued"], images["running"]) == (
        "images", "custom", 2, 0,
    )  # fmt: skip
    assert (images["concurrencyLimit"], images["paused"]) == (2, False)
    assert (nightly["name"], nightly["type"], nightly["concurrencyLimit"]) == (
        "a/b c",
        "task",
        None,
    )


def test_a_queue_is_held_by_its_rate_until_the_time_has_come(shop):
    now = clock.now()
    for held, said in ((now + timedelta(hours=1), True), (now - timedelta(hours=1), False)):
        QueueSlots.objects.filter(queue="images").update(held_until=held)
        found = shop.get("/api/v1/queues/images", {"type": "custom"}).ok()
        assert (found.get("heldUntil") is not None) == said


def test_pages_are_counted_from_one(shop):
    first = shop.get("/api/v1/queues", {"page": 1, "perPage": 1}).ok()
    second = shop.get("/api/v1/queues", {"page": 2, "perPage": 1}).ok()
    third = shop.get("/api/v1/queues", {"page": 3, "perPage": 1}).ok()

    assert [item["name"] for item in first["data"] + second["data"]] == ["images", "a/b c"]
    assert second["pagination"] == {"currentPage": 2, "totalPages": 2, "count": 2}
    assert third["data"] == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"page": "0"}, "page must be a whole number from 1 to 1000000"),
        ({"perPage": "101"}, "perPage must be a whole number from 1 to 100"),
        ({"perPage": "ten"}, "perPage must be a whole number from 1 to 100"),
    ],
)
def test_a_page_that_cannot_be_is_400(api, query, message):
    answer = api.get("/api/v1/queues", query)

    assert (answer.status, answer.error) == (400, message)


def test_a_queue_is_found_by_its_id_its_name_or_its_task(shop):
    listed = shop.get("/api/v1/queues").ok()["data"]

    assert shop.get(f"/api/v1/queues/{listed[0]['id']}").ok() == listed[0]
    assert shop.get("/api/v1/queues/images", {"type": "custom"}).ok() == listed[0]
    # The public client encodes the slash of a name twice.
    assert shop.get("/api/v1/queues/a%252Fb%20c?type=task").ok() == listed[1]


def test_another_type_is_400(api):
    answer = api.get("/api/v1/queues/images", {"type": "name"})

    assert (answer.status, answer.error) == (400, "type must be one of id, task, custom")


def test_a_public_token_reads_its_queue(shop, acme):
    reader = Api(token_for(acme, scopes=["read:queues:images"]))

    assert reader.get("/api/v1/queues/images", {"type": "custom"}).ok()["name"] == "images"
    assert reader.get("/api/v1/queues/a%252Fb%20c?type=task").status == 403


def test_charlie_finds_no_queue_of_acme(shop, charlie):
    identifier = shop.get("/api/v1/queues").ok()["data"][0]["id"]

    assert charlie.get(f"/api/v1/queues/{identifier}").status == 404
    assert charlie.get("/api/v1/queues/images", {"type": "custom"}).status == 404
    assert charlie.get("/api/v1/queues").ok()["data"] == []


# -- What people change --------------------------------------------------------------------------


def audited(acme):
    entries = AuditEntry.objects.filter(organization=acme.organization, target_type="queue")
    return list(entries.order_by("pk").values_list("action", flat=True))


def test_a_queue_is_paused_and_resumed_once(shop, acme):
    path = "/api/v1/queues/images/pause"
    for _ in range(2):
        assert shop.post(path, {"type": "custom", "action": "pause"}).ok()["paused"]
    assert not shop.post(path, {"type": "custom", "action": "resume"}).ok()["paused"]
    assert audited(acme) == ["queue.paused", "queue.resumed"]


def test_a_limit_is_overridden_and_reset_and_a_deployment_leaves_it_alone(shop, acme):
    path = "/api/v1/queues/a%252Fb%20c/concurrency"
    answer = shop.post(f"{path}/override", {"type": "task", "concurrencyLimit": 7}).ok()
    assert (answer["concurrencyLimit"], answer["concurrency"]["base"]) == (7, None)
    scenes.version(acme.scope, NIGHTLY, IMAGES)
    assert shop.get("/api/v1/queues/a%252Fb%20c?type=task").ok()["concurrencyLimit"] == 7
    assert shop.post(f"{path}/reset", {"type": "task"}).ok()["concurrencyLimit"] is None
    assert audited(acme) == ["queue.overridden", "queue.reset"]


def test_a_limit_is_overridden_by_a_share_of_the_environments(shop):
    path = "/api/v1/queues/images/concurrency/override"
    answer = shop.post(path, {"type": "custom", "percent": 25, "totalLimit": 3}).ok()
    assert answer["concurrencyLimit"] == 25


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("queues/images/pause", {"type": "custom"}, 400),
        ("queues/images/pause", {"type": "custom", "action": "stop"}, 400),
        ("queues/images/concurrency/override", {"type": "custom"}, 422),
        ("queues/images/concurrency/override", {"type": "custom", "concurrencyLimit": -1}, 400),
        ("queues/images/concurrency/override", {"type": "custom", "percent": 101}, 400),
        ("queues/none/concurrency/reset", {"type": "custom"}, 404),
        ("concurrency-limits/images/override", {}, 422),
        ("concurrency-limits/images/override", {"concurrencyKey": "a"}, 422),
        ("concurrency-limits/images/override", {"total": 1, "ttl": "1h"}, 422),
        (
            "concurrency-limits/images/override",
            {"concurrencyKey": "a", "perKey": 1, "total": 1},
            422,
        ),
        (
            "concurrency-limits/images/override",
            {"concurrencyKey": "a", "perKey": 1, "ttl": "31d"},
            422,
        ),
        ("concurrency-limits/none/pause", {"action": "pause"}, 404),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(shop, path, body, status):
    assert shop.post(f"/api/v1/{path}", body).status == status


def test_a_key_has_a_limit_of_its_own_for_a_while(shop, acme):
    path = "/api/v1/concurrency-limits/images"
    made = shop.post(f"{path}/override", {"concurrencyKey": "one", "perKey": 9}).ok()
    assert (made["perKey"]["current"], made["perKey"]["base"]) == (9, 2)
    apply_queues(acme.production.pk, now=clock.now())
    assert Lane.objects.get(key="one").cap == 9
    late = clock.now() + timedelta(days=8)
    assert lapse_overrides(late) == 1
    apply_queues(acme.production.pk, now=late)
    assert Lane.objects.get(key="one").cap == 2
    shop.post(f"{path}/override", {"concurrencyKey": "one", "perKey": 3}).ok()
    shop.post(f"{path}/reset", {"concurrencyKey": "one"}).ok()
    assert audited(acme) == ["queue.key_overridden", "queue.key_overridden", "queue.key_reset"]


def test_charlie_changes_no_queue_of_acme(shop, charlie, acme):
    body = {"type": "custom", "action": "pause", "concurrencyLimit": 1}
    for path in ("pause", "concurrency/override", "concurrency/reset"):
        assert charlie.post(f"/api/v1/queues/images/{path}", body).status == 404
    assert charlie.post("/api/v1/concurrency-limits/images/reset", {}).status == 404
    assert audited(acme) == []


def test_a_run_is_explained_as_data(shop, charlie):
    run = scenes.run(shop, "a%2Fb%20c")
    found = shop.get(f"/api/v1/runs/{run}/explanation").ok()
    assert (found["kind"], found["holders"]) == ("no_worker", [])
    assert found["text"] == "No worker for machine small-1x is connected."
    assert charlie.get(f"/api/v1/runs/{run}/explanation").status == 404
