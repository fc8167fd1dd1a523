"""The journal of a durable run: on its page, on a page of its own, and as the place of a fork."""

from __future__ import annotations

import json

import pytest

from apps.core.ids import parse_public_id, public_id
from apps.dashboard import journal
from apps.runs.models import JournalEntry, Run
from apps.runs.operations.journal import FORK
from tests import factories
from tests.dashboard.pages import at, links, text
from tests.runs.engine import get, trigger

pytestmark = pytest.mark.django_db

TRACE = 'File "shop.py", line 3, in pay\n  go()'
ERROR = {"name": "Declined", "message": "no", "stackTrace": TRACE}


@pytest.fixture
def run(acme, shipped) -> str:
    run_id = trigger(acme.scope, payload='{"order": 17}')
    entry(run_id, 1, name="load", output='{"order": 17}', took_ms=12)
    entry(run_id, 2, name="charge", ok=False, error=ERROR, attempts=3, took_ms=4_200)
    entry(run_id, 3, name="receipt", output=json.dumps("x" * 5_000))
    return public_id("run", run_id)


def entry(run_id, seq: int, **fields) -> None:
    given = {"kind": "step", "position": str(seq), "after": seq - 1}
    JournalEntry.objects.create(run_id=run_id, seq=seq, **given | fields)


def test_the_page_of_a_run_has_its_steps_in_order(visit, run):
    answer = visit().get(at(f"runs/{run}"))
    said = text(answer)
    assert said.index("load") < said.index("charge") < said.index("receipt")
    assert "Declined: no" in said
    assert "shop.py : 3 in pay" in said
    assert "4.9 KB" in said
    assert len(answer.getvalue()) < 200_000, "only the beginning of a result is shown"
    assert at(f"runs/{run}/journal") in links(answer)


def test_a_run_without_a_journal_has_no_such_part(visit, acme, shipped):
    plain = public_id("run", trigger(acme.scope))
    assert "Journal" not in text(visit().get(at(f"runs/{plain}")))
    assert "The journal is empty" in text(visit().get(at(f"runs/{plain}/journal")))


def test_a_journal_is_read_page_by_page_and_from_both_ends(visit, run, monkeypatch):
    monkeypatch.setattr("apps.dashboard.views.run.STEPS_SHOWN", 2)
    client = visit()

    def seqs(query: str) -> list[int]:
        rows = client.get(at(f"runs/{run}/journal{query}")).context["rows"]
        return [row.step.seq for row in rows]

    assert (seqs(""), seqs("?after=2")) == ([1, 2], [3])
    assert (seqs("?sort=newest"), seqs("?sort=newest&after=2")) == ([3, 2], [1])
    assert (seqs("?status=failed"), seqs("?q=CHAR")) == ([2], [2])
    assert seqs("?after=x&q=%00") == [1, 2]


def test_a_fork_begins_before_the_step(visit, acme, run):
    answer = visit().post(at(f"runs/{run}/fork"), {"from": "2"})
    forked = get(answer["Location"].rpartition("/")[2])
    assert (forked.source, forked.replay_of_id) == (FORK, parse_public_id("run", run))
    assert [e.name for e in JournalEntry.objects.filter(run_id=forked.pk)] == ["load"]
    page = visit().get(at(f"runs/{public_id('run', forked.pk)}"))
    assert "Forked from" in text(page)
    assert at(f"runs/{run}") in links(page)


def test_a_fork_from_nowhere_is_refused(visit, run):
    before = Run.objects.count()
    assert visit().post(at(f"runs/{run}/fork"), {"from": "99"}).status_code == 422
    assert Run.objects.count() == before


def test_a_viewer_reads_and_forks_nothing(visit, viewer, run):
    client = visit(viewer)
    assert "Fork" not in text(client.get(at(f"runs/{run}")))
    assert client.post(at(f"runs/{run}/fork"), {"from": "1"}).status_code == 403


def test_charlie_finds_nothing(visit, run):
    stranger = visit(factories.charlie())
    assert stranger.get(at(f"runs/{run}/journal")).status_code == 404
    assert stranger.post(at(f"runs/{run}/fork"), {"from": "1"}).status_code == 404


def test_every_kind_of_entry_that_the_sdk_makes_has_an_icon():
    kinds = {"step", "now", "random", "uuid", "patch", "trigger", "batch", "wait", "time", "token"}
    assert kinds == set(journal._ICONS)
