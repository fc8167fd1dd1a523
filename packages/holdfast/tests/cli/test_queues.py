"""Queues from the terminal."""

from __future__ import annotations

import pytest

from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import Answer, Stub

QUEUE = {
    "id": "queue_1",
    "name": "a/b",
    "type": "task",
    "running": 2,
    "queued": 10_000,
    "paused": False,
    "concurrencyLimit": 5,
    "concurrency": {"current": 5, "base": None, "override": 5},
    "rate": {"limit": 100, "period": 60, "burst": 1},
}
PATH = "/api/v1/queues/a%252Fb"


def test_queues_are_listed_with_their_load(cli: Cli, stub: Stub):
    place = {"currentPage": 2, "totalPages": 2, "count": 51}
    stub.script(Answer(body={"data": [QUEUE], "pagination": place}))
    done = cli("queues", "list", "--page", "2")
    assert done.code == 0
    assert all(text in done.out for text in ("task/a/b", "10000+", "5 (overridden)", "open"))
    (request,) = stub.of("GET", "/api/v1/queues")
    assert (request.query["page"], request.query["perPage"]) == ("2", "50")


def test_a_queue_is_shown_with_its_rate(cli: Cli, stub: Stub):
    stub.script(Answer(body=QUEUE))
    assert "100 per 60 s, burst 1" in cli("queues", "show", "task/a/b").out
    (request,) = stub.requests
    assert request.query["type"] == "task"


@pytest.mark.parametrize(
    ("words", "what", "body"),
    [
        (["pause"], "/pause", {"action": "pause"}),
        (["resume"], "/pause", {"action": "resume"}),
        (["reset"], "/concurrency/reset", {}),
        (["override", "3"], "/concurrency/override", {"concurrencyLimit": 3}),
        (["override", "--percent", "50"], "/concurrency/override", {"percent": 50.0}),
        (["override", "--total", "9"], "/concurrency/override", {"totalLimit": 9}),
    ],
)
def test_a_queue_is_changed(cli: Cli, stub: Stub, words, what, body):
    stub.script(Answer(body=QUEUE))
    command, *rest = words
    assert cli("queues", command, "task/a/b", *rest).code == 0
    (request,) = stub.requests
    assert request.json == {"type": "task", **body}
    assert request.path.endswith(what)


def test_an_override_says_of_what(cli: Cli, stub: Stub):
    done = cli("queues", "override", "mails")
    assert (done.code, "Say LIMIT, --total or --percent." in done.err) == (2, True)
    assert stub.requests == []
