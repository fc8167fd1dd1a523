import pytest

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
