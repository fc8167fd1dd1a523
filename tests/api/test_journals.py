"""The journal of a run, and forks of it, over the API."""

from __future__ import annotations

import pytest

from apps.core.ids import parse_public_id
from apps.orgs.models import AuditEntry
from apps.runs.models import JournalEntry, Run
from holdfast.protocol import Entry, Steps
from tests import factories
from tests.api.client import Api
from tests.runs.engine import Worker, completed, trigger, unsound, version

pytestmark = pytest.mark.django_db


def entry(seq: int, name: str) -> Entry:
    return Entry(seq=seq, position=str(seq), kind="step", name=name, output=f'"{seq}"')


@pytest.fixture
def worker(acme):
    return Worker(version(acme.production, "order", durable=True))


@pytest.fixture
def run(acme, worker):
    """A finished durable run with three steps."""
    trigger(acme.scope, "order", payload='{"id":7}', tags=("a",))
    (work,) = worker.claim()
    names = ["reserve", "charge", "ship"]
    entries = [entry(number, name) for number, name in enumerate(names, 1)]
    worker.say(Steps(run=work.run, generation=work.generation, entries=entries), completed(work))
    return work.run


@pytest.fixture
def api(acme):
    return Api(acme.secret)


def test_a_journal_is_listed_in_order(api, run):
    answer = api.get(f"/api/v1/runs/{run}/journal")
    assert [each["name"] for each in answer.body["data"]] == ["reserve", "charge", "ship"]
    first = answer.body["data"][0]
    assert (first["seq"], first["position"], first["kind"], first["ok"]) == (1, "1", "step", True)
    assert (first["output"], first["outputType"]) == ('"1"', "application/json")


def test_a_journal_is_paged_by_its_numbers(api, run):
    first = api.get(f"/api/v1/runs/{run}/journal", {"page[size]": 2}).body
    assert first["pagination"] == {"next": "2"}
    second = api.get(f"/api/v1/runs/{run}/journal", {"page[size]": 2, "page[after]": 2}).body
    assert [each["seq"] for each in second["data"]] == [3]
    assert second["pagination"] == {}


def test_a_page_that_is_no_number_is_refused(api, run):
    assert api.get(f"/api/v1/runs/{run}/journal", {"page[after]": "x"}).status == 400


@pytest.mark.parametrize("start", ["charge", "2"])
def test_a_fork_begins_with_what_came_before(api, worker, run, start):
    answer = api.post(f"/api/v1/runs/{run}/fork", {"from": start})
    assert answer.status == 200
    (work,) = worker.claim()
    assert work.run == answer.body["id"] != run
    assert (work.payload, work.attempt, work.is_resumed) == ('{"id":7}', 1, False)
    assert [each.name for each in work.journal] == ["reserve"]
    assert unsound() == []


def test_a_fork_tells_what_it_comes_from(api, run):
    made = api.post(f"/api/v1/runs/{run}/fork", {"from": "ship"}).body["id"]
    fork = Run.objects.get(pk=parse_public_id("run", made))
    assert fork.replay_of_id == parse_public_id("run", run)
    assert (fork.source, fork.tags) == ("fork", ["a"])


def test_a_fork_is_in_the_audit_log(api, run):
    made = api.post(f"/api/v1/runs/{run}/fork", {"from": "ship"}).body["id"]
    told = AuditEntry.objects.get(action="run.forked")
    assert (told.target_id, told.detail["fork"], told.detail["entries"]) == (run, made, 2)


def test_a_fork_from_nowhere_is_refused_and_leaves_nothing(api, run):
    answer = api.post(f"/api/v1/runs/{run}/fork", {"from": "refund"})
    assert answer.status == 422
    assert answer.body["error"] == (
        "its journal has no step 'refund', by position or name: it has reserve, charge, ship"
    )
    assert (Run.objects.count(), JournalEntry.objects.count()) == (1, 3)
    assert api.post(f"/api/v1/runs/{run}/fork", {}).status == 400


def test_charlie_neither_reads_nor_forks(run):
    charlie = Api(factories.globex().secret)
    assert charlie.get(f"/api/v1/runs/{run}/journal").status == 404
    assert charlie.post(f"/api/v1/runs/{run}/fork", {"from": "ship"}).status == 404
    assert Run.objects.count() == 1
