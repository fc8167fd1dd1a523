"""Tags that are added to a run."""

from __future__ import annotations

import pytest

from apps.core.errors import Invalid, NotFound
from apps.core.paging import CursorPage
from apps.runs.models import RunTag
from apps.runs.operations.tags import add_tags
from apps.runs.queries import RunFilters, list_runs
from tests import factories
from tests.runs.engine import NOW, completed, get, kinds, trigger, unknown_run, version
from tests.runs.threads import together

pytestmark = pytest.mark.django_db


def add(acme, run_id, *tags):
    return add_tags(acme.scope, run_id=run_id, tags=tags, now=NOW)


def test_new_tags_are_added_once(acme, worker):
    run_id = trigger(acme.scope, tags=("a",))
    assert add(acme, run_id, "b", "a", "b").tags == ["a", "b"]
    assert sorted(RunTag.objects.values_list("tag", flat=True)) == ["a", "b"]
    assert kinds(run_id) == ["triggered", "tagged"]


def test_a_run_is_found_by_a_tag_that_was_added(acme, worker):
    run_id = trigger(acme.scope)
    add(acme, run_id, "late")
    found = list_runs(acme.scope, RunFilters(tags=("late",)), CursorPage(size=10))
    assert [run.pk for run in found.items] == [run_id]


def test_a_run_has_at_most_ten(acme, worker):
    run_id = trigger(acme.scope, tags=tuple("abcdefgh"))
    add(acme, run_id, "i", "j")
    with pytest.raises(Invalid):
        add(acme, run_id, "k")
    assert len(get(run_id).tags) == 10


@pytest.mark.parametrize("tag", ["", "x" * 129, "\0"])
def test_a_tag_must_be_usable(acme, worker, tag):
    with pytest.raises(Invalid):
        add(acme, trigger(acme.scope), tag)


def test_a_run_that_has_ended_may_be_tagged(acme, worker):
    run_id = trigger(acme.scope)
    worker.say(completed(*worker.claim()))
    assert add(acme, run_id, "done").tags == ["done"]


def test_charlie_tags_nothing_of_alices(acme, worker, charlie):
    run_id = trigger(acme.scope)
    for one in (run_id, unknown_run()):
        with pytest.raises(NotFound):
            add(charlie, one, "mine")


@pytest.mark.django_db(transaction=True)
def test_tags_that_are_added_at_once_are_all_kept():
    acme = factories.acme()
    version(acme.production, "hello")
    run_id = trigger(acme.scope)
    together(*(lambda tag=tag: add(acme, run_id, tag, "same") for tag in "abcd"))
    assert sorted(get(run_id).tags) == ["a", "b", "c", "d", "same"]
