"""The tasks of the current version, and their last day."""

from __future__ import annotations

import json

import pytest

from apps.deployments.models import Queue
from tests.dashboard.pages import at, links, text
from tests.runs.engine import trigger, version

pytestmark = pytest.mark.django_db


def order(response) -> list[str]:
    return [row.task.slug for row in response.context["rows"]]


def test_every_task_of_the_current_version_is_shown(acme, shipped, visit):
    version(acme.production, "retired", number="20261123.1", promote=False)
    trigger(acme.scope)
    response = visit().get(at("tasks"))
    assert order(response) == ["hello", "resize"]
    assert "hello: 1 runs in 24 hours, 0 failed" in text(response)
    assert f"{at('runs')}?task=hello" in links(response)
    assert f"{at('test')}?task=hello" in links(response)


def test_tasks_may_be_filtered_and_sorted_by_how_they_do(acme, shipped, visit):
    for _ in range(2):
        trigger(acme.scope, task="resize")
    client = visit()
    assert order(client.get(at("tasks?q=RES"))) == ["resize"]
    assert order(client.get(at("tasks?sort=runs"))) == ["resize", "hello"]
    assert order(client.get(at("tasks?sort=nonsense"))) == ["hello", "resize"]
    assert "No task matches" in text(client.get(at("tasks?q=nothing")))


def test_htmx_gets_the_list_alone(shipped, visit):
    body = visit().get(at("tasks"), headers={"HX-Request": "true"}).getvalue().decode()
    assert "<html" not in body
    assert "<table" in body


def test_the_limit_of_a_queue_is_shown_and_that_it_is_paused(acme, shipped, visit):
    Queue.objects.create(
        environment=acme.production,
        name="task/hello",
        concurrency_limit=7,
        paused_at=shipped.created_at,
        created_at=shipped.created_at,
    )
    said = text(visit().get(at("tasks")))
    assert "task/hello 7 Paused" in said


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(
    acme, shipped, visit, django_assert_num_queries
):
    client = visit()
    client.get(at("tasks"))
    for number, tasks in (("20261125.1", ["a"]), ("20261125.2", list("abcdefgh"))):
        version(acme.production, *tasks, number=number)
        # session, person, place, version, tasks, how to plan, their activity, queues
        with django_assert_num_queries(8):
            client.get(at("tasks"))


def test_without_a_version_the_page_teaches(visit):
    said = text(visit().get(at("tasks")))
    assert "No tasks yet" in said
    assert "holdfast deploy" in said


def test_tasks_are_exported(acme, shipped, visit):
    trigger(acme.scope)
    client = visit()
    rows = json.loads(client.get(at("tasks?export=json")).content)
    assert [(row["task"], row["runs_24h"]) for row in rows] == [("hello", 1), ("resize", 0)]
    lines = client.get(at("tasks?export=csv&q=resize")).content.decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["task", "resize"]
