"""The page of a task: how it does, what the current version says of it, its runs and schedules."""

from __future__ import annotations

import pytest

from apps.core.ids import public_id
from apps.deployments.models import Queue
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.factories import NOW
from tests.runs.engine import trigger, version

pytestmark = pytest.mark.django_db


def test_it_says_what_the_version_says(acme, visit):
    policy = {"maxAttempts": 5, "minTimeoutInMs": 1_000, "maxTimeoutInMs": 60_000, "factor": 2}
    version(
        acme.production, "resize", description="Makes pictures small", retry=policy,
        payload_schema={"type": "object", "title": "Picture"}, file_path="tasks/images.py",
    )  # fmt: skip
    queue = Queue.objects.create(
        environment=acme.production, name="task/resize", concurrency_limit=7, created_at=NOW
    )
    response = visit().get(at("tasks/resize"))
    said = text(response)
    for words in (
        "Makes pictures small", "tasks/images.py", "20261124.1", "Up to 5 attempts",
        "pauses from 1.0 s to 1 m, times 2", "7 per key", "No schedule starts it.",
    ):  # fmt: skip
        assert words in said, words
    assert "Picture" in response.content.decode()
    assert at(f"queues/{public_id('queue', queue.pk)}") in links(response)
    assert f"{at('test')}?task=resize" in links(response)


def test_it_has_the_newest_runs_and_the_schedules_of_the_task_alone(acme, shipped, visit):
    mine, other = trigger(acme.scope, "resize"), trigger(acme.scope, "hello")
    request = ScheduleRequest(task="resize", cron="0 9 * * *", timezone="UTC")
    schedule = create_schedule(acme.scope, request=request, deduplication_key="x", now=NOW)
    response = visit().get(at("tasks/resize"))
    assert at(f"runs/{public_id('run', mine)}") in links(response)
    assert at(f"runs/{public_id('run', other)}") not in links(response)
    assert at(f"schedules/{public_id('sched', schedule.pk)}") in links(response)


def test_a_task_that_is_gone_from_the_code_has_its_runs(acme, shipped, visit):
    trigger(acme.scope, "retired")
    assert "Not in the current version" in text(visit().get(at("tasks/retired")))
    assert visit().get(at("tasks/nothing")).status_code == 404


def test_a_name_with_a_slash_or_a_line_break_has_an_address(acme, visit):
    version(acme.production, "images/resize")
    assert at("tasks/images/resize") in links(visit().get(at("tasks")))
    assert visit().get(at("tasks/images/resize")).status_code == 200
    odd = trigger(acme.scope, "two\nlines?")
    response = visit().get(at(f"runs/{public_id('run', odd)}"))
    assert at("tasks/two%0Alines%3F") in links(response)
    assert visit().get(at("tasks/two%0Alines%3F")).status_code == 200


def test_a_viewer_is_offered_no_test(acme, shipped, visit, viewer):
    assert "Test it" not in text(visit(viewer).get(at("tasks/resize")))


def test_charlie_finds_nothing(acme, shipped, visit):
    assert visit(factories.charlie()).get(at("tasks/resize")).status_code == 404


def test_it_costs_the_same_for_few_and_many(acme, shipped, visit, django_assert_max_num_queries):
    client = visit()
    for _ in range(2):
        for _ in range(4):
            trigger(acme.scope, "resize", tags=("blue",))
        client.get(at("tasks/resize"))
        with django_assert_max_num_queries(12):
            client.get(at("tasks/resize"))
