"""Items of a batch that differ in nothing but their payload are what each would be by itself."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import sql
from apps.deployments.models import Queue
from apps.runs.models import PendingRun, ReadyRun, Run, RunEvent, RunTag, Timer
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.lengths import forget_caps
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.queries import batch_errors, batch_runs
from tests.runs.engine import NOW, trigger, unsound, version

pytestmark = pytest.mark.django_db

OWN = {"id", "batch_id", "batch_index"}
SHAPES = {
    "plain": {},
    "with everything": {
        "tags": ("a", 'b"\\,{}', "ü"), "metadata": {"n": 1, "t": "\t"}, "priority_seconds": 2.5,
        "concurrency_key": "k", "machine": "medium-1x", "max_attempts": 7,
        "max_duration_seconds": 60, "ttl": timedelta(hours=1), "is_test": True, "source": "sdk",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "queue": "other", "metadata_type": "x/y",
    },
    "delayed": {"delay_until": NOW + timedelta(hours=1), "ttl": timedelta(minutes=5)},
    "of a task that nobody knows yet": {"task": "unknown"},
    "as text": {"payload_type": "text/plain"},
}  # fmt: skip


def filled(acme, *groups, parent=None):
    """A batch of items that share their requests, group after group."""
    items = [
        BatchItemRequest(index=0, request=request, payload=payload)
        for request, payloads in groups
        for payload in payloads
    ]
    numbered = [
        BatchItemRequest(index=n, request=item.request, payload=item.payload)
        for n, item in enumerate(items)
    ]
    batch_id = create_batch(
        acme.scope, run_count=len(items), parent_run_id=parent, resume_parent=True, now=NOW
    ).batch_id
    progress = add_batch_items(acme.scope, batch_id=batch_id, items=numbered, now=NOW)
    assert (progress.accepted, progress.sealed) == (len(items), True)
    return batch_id


def alone(acme, *requests, parent=None):
    """The same, of items that share nothing."""
    items = [BatchItemRequest(index=n, request=each) for n, each in enumerate(requests)]
    batch_id = create_batch(
        acme.scope, run_count=len(items), parent_run_id=parent, resume_parent=True, now=NOW
    ).batch_id
    add_batch_items(acme.scope, batch_id=batch_id, items=items, now=NOW)
    return batch_id


def story(batch_id):
    """All that is stored of a batch's runs, but for what each has of its own."""
    found = []
    for run in Run.objects.filter(batch_id=batch_id).order_by("batch_index"):
        row = Run.objects.filter(pk=run.pk).values().get()
        ready = ReadyRun.objects.filter(run_id=run.pk).values(
            "environment_id", "lane_id", "version_id", "session_id", "machine", "order_at"
        )
        events = RunEvent.objects.filter(run_id=run.pk).values(
            "environment_id", "kind", "status", "attempt", "at", "detail"
        )
        timers = Timer.objects.filter(run_id=run.pk).order_by("kind").values("kind", "due_at")
        pending = PendingRun.objects.filter(run_id=run.pk).values("environment_id", "task")
        tags = RunTag.objects.filter(run_id=run.pk).order_by("tag").values("tag", "environment_id")
        found.append(
            (
                {name: value for name, value in row.items() if name not in OWN},
                *(list(rows) for rows in (ready, events, timers, pending, tags)),
            )
        )
    return found


@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("has_parent", [False, True])
def test_each_is_stored_as_it_would_be_by_itself(acme, worker, options, has_parent):
    parent = trigger(acme.scope) if has_parent else None
    payloads = ['{"n":1}', None, "a\\\t\n\"',{}NULL", "ü" * 9]
    if options.get("payload_type") is None:
        payloads = ["1", None, '"a\\\\\\t\\n,{}NULL"', '"ü"']
    options = {"task": "hello"} | options
    shared = filled(acme, (TriggerRequest(**options), payloads), parent=parent)
    each = alone(
        acme, *(TriggerRequest(**options, payload=text) for text in payloads), parent=parent
    )
    assert story(shared) == story(each)
    assert unsound() == []


def test_no_column_of_a_run_is_forgotten():
    statement = sql.load("runs", "trigger_alike")
    columns = {field.column for field in Run._meta.concrete_fields}
    inserted, selected = re.search(
        r"INSERT INTO runs_run \((.*?)\)\s+SELECT(.*?)FROM", statement, re.DOTALL
    ).groups()
    assert {name.strip() for name in inserted.split(",")} == columns
    assert [name.strip() for name in inserted.split(",")][3:] == [
        name.strip() for name in selected.split(",")
    ][3:]


def test_a_payload_that_does_not_fit_is_refused_alone(acme):
    version(acme.production, payload_schema={"type": "integer"})
    batch_id = filled(acme, (TriggerRequest(task="hello"), ["1", '"one"', "3", "{", "\0", "6"]))
    assert [run.payload for run in batch_runs(acme.scope, batch_id)] == ["1", "3", "6"]
    assert [error.index for error in batch_errors(acme.scope, batch_id)] == [1, 3, 4]
    assert unsound() == []


def test_what_is_wrong_with_all_is_told_of_each(acme, worker):
    batch_id = filled(
        acme,
        (TriggerRequest(task="hello"), ["1"] * 8),
        (TriggerRequest(task="hello", machine="huge"), ["2"] * 4),
    )
    assert [run.payload for run in batch_runs(acme.scope, batch_id)] == ["1"] * 8
    assert [error.index for error in batch_errors(acme.scope, batch_id)] == [8, 9, 10, 11]


def test_a_key_that_they_share_makes_one_run_of_them(acme, worker):
    filled(acme, (TriggerRequest(task="hello", idempotency_key="k"), ["1"] * 8))
    assert Run.objects.count() == 1


def test_runs_of_several_kinds_wait_in_the_order_of_their_items(acme, worker):
    first, second = TriggerRequest(task="hello"), TriggerRequest(task="hello", tags=("t",))
    items = [
        BatchItemRequest(index=n, request=(first, second)[n % 2], payload=str(n)) for n in range(12)
    ]
    batch_id = create_batch(acme.scope, run_count=12, now=NOW).batch_id
    add_batch_items(acme.scope, batch_id=batch_id, items=items, now=NOW)
    in_line = ReadyRun.objects.order_by("order_at", "run_id").values_list("run_id", flat=True)
    payloads = dict(Run.objects.values_list("id", "payload"))
    assert [payloads[run_id] for run_id in in_line] == [str(n) for n in range(12)]


def test_a_queue_takes_as_many_as_it_may_have(acme, worker):
    Queue.objects.create(environment=acme.production, name="q", max_queued=5, created_at=NOW)
    forget_caps()
    batch_id = filled(acme, (TriggerRequest(task="hello", queue="q"), ["1"] * 8))
    assert len(batch_runs(acme.scope, batch_id)) == 5
    assert [error.index for error in batch_errors(acme.scope, batch_id)] == [5, 6, 7]
    forget_caps()


@pytest.mark.calm("it counts statements")
def test_a_thousand_cost_as_many_statements_as_ten(acme, worker):
    counts = []
    for size in (10, 10, 1_000):  # the first looks up what is kept
        with CaptureQueriesContext(connection) as queries:
            filled(acme, (TriggerRequest(task="hello"), ["1"] * size))
        counts.append(len(queries))
    assert counts[1] == counts[2]
