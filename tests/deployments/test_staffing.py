"""The decision which workers to start and stop: by table, and by what must always hold."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.runs.staffing import Group, Need, Plan, Rules, Worker, backoff, plan
from tests.factories import NOW

RULES = Rules(
    max_workers=6,
    max_per_version=3,
    slots=10,
    idle=timedelta(seconds=60),
    old_idle=timedelta(seconds=10),
    connect=timedelta(seconds=120),
)
GROUPS = [
    Group(environment_id=UUID(int=1), version_id=UUID(int=number), machine="")
    for number in range(1, 5)
]
ONE, TWO, *_ = GROUPS


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def need(group=ONE, **changes):
    return Need(**{"group": group, "is_current": True, **changes})


def worker(group=ONE, *, busy=0, **changes):
    fields = {"instance_id": uuid4(), "group": group, "slots": 10, "busy_at": ago(busy)}
    return Worker(**{**fields, **changes})


def decide(needs, workers=(), **rules):
    return plan(needs, list(workers), rules=replace(RULES, **rules), now=NOW)


def starting(group=ONE, **changes):
    return worker(group, slots=None, silent_since=NOW, **changes)


@pytest.mark.parametrize(
    ("says", "needs", "workers", "starts"),
    [
        ("nothing needs nothing", [need()], [], 0),
        ("one run starts one worker at once", [need(ready=1)], [], 1),
        ("a backlog starts several", [need(ready=25)], [], 3),
        ("but not more than a version may have", [need(ready=1_000)], [], 3),
        ("free slots suffice", [need(ready=10)], [worker()], 0),
        ("full workers do not", [need(ready=1)], [worker(held=10)], 1),
        ("then one at a time", [need(ready=500)], [worker()], 1),
        ("as they connect", [need(ready=500)], [worker(), starting()], 0),
        ("one that stops is no supply", [need(ready=1)], [worker(is_stopping=True)], 1),
        ("a promoted version is warmed", [need(warm_since=ago(5))], [], 1),
        ("once", [need(warm_since=ago(5))], [worker()], 0),
        ("and not for ever", [need(warm_since=ago(60))], [], 0),
        ("an old version is not", [need(warm_since=ago(5), is_current=False)], [], 0),
        ("but works on", [need(ready=1, is_current=False)], [], 1),
        ("one crash is replaced at once", [need(ready=1, crashes=1, crashed_at=NOW)], [], 1),
        ("the third rests", [need(ready=1, crashes=3, crashed_at=ago(3))], [], 0),
        ("for a while", [need(ready=1, crashes=3, crashed_at=ago(4))], [], 1),
        ("then proves itself alone", [need(ready=99, crashes=3, crashed_at=ago(9))], [], 1),
    ],
)
def test_what_is_started(says, needs, workers, starts):
    assert len(decide(needs, workers).starts) == starts, says


@pytest.mark.parametrize(
    ("says", "needs", "workers", "reason"),
    [
        ("a busy one stays", [need()], [worker(busy=99, held=1)], None),
        ("a warm one stays", [need()], [worker(busy=59)], None),
        ("an idle one goes", [need()], [worker(busy=60)], "idle for 60 s"),
        ("not while runs are ready", [need(ready=1)], [worker(busy=60)], None),
        ("of an old version sooner", [need(is_current=False)], [worker(busy=10)], "not current"),
        ("but busy it stays", [need(is_current=False)], [worker(busy=99, held=1)], None),
        ("of a version that nobody knows too", [], [worker(busy=10)], "not current"),
        ("silent a while", [need()], [worker(silent_since=ago(119))], None),
        ("silent for long", [need()], [worker(held=3, silent_since=ago(120))], "no connection"),
        ("one that stops already", [need()], [worker(busy=99, is_stopping=True)], None),
    ],
)
def test_what_is_stopped(says, needs, workers, reason):
    stops = decide(needs, workers).stops
    assert [reason in stop.reason for stop in stops] == ([True] if reason else []), says


def test_a_full_pool_serves_everybody_a_little():
    needs = [need(group, ready=100) for group in GROUPS]
    starts = decide(needs, max_workers=6).starts
    assert len(starts) == 6
    assert {starts.count(group) for group in GROUPS} == {1, 2}


def test_runs_go_before_warmth():
    needs = [need(ONE, warm_since=NOW), need(TWO, ready=1)]
    assert decide(needs, max_workers=1).starts == (TWO,)


def test_an_idle_worker_makes_room_for_runs_that_have_none():
    idle, fresher = worker(ONE, busy=40), worker(ONE, busy=20)
    decided = decide([need(ONE), need(TWO, ready=1)], [idle, fresher], max_workers=2)
    assert [stop.instance_id for stop in decided.stops] == [idle.instance_id]
    assert decided.starts == ()  # its place is free once it is gone


def test_no_more_idle_workers_go_than_are_needed():
    leaving = worker(ONE, is_stopping=True)
    decided = decide([need(ONE), need(TWO, ready=1)], [leaving, worker(ONE, busy=9)], max_workers=2)
    assert decided == Plan()


def test_a_backoff_grows_and_is_bounded():
    rests = [backoff(crashes).total_seconds() for crashes in range(12)]
    assert rests[:5] == [0, 0, 2, 4, 8]
    assert rests == sorted(rests)
    assert rests[-1] == 300


needs_of = st.builds(
    need,
    group=st.sampled_from(GROUPS),
    ready=st.integers(0, 200),
    is_current=st.booleans(),
    warm_since=st.none() | st.integers(0, 120).map(ago),
    crashes=st.integers(0, 6),
    crashed_at=st.none() | st.integers(0, 400).map(ago),
)
workers_of = st.builds(
    worker,
    st.sampled_from(GROUPS),
    busy=st.integers(0, 200),
    held=st.integers(0, 12),
    slots=st.none() | st.just(10),
    is_stopping=st.booleans(),
    silent_since=st.none() | st.integers(0, 200).map(ago),
)
worlds = st.tuples(
    st.lists(needs_of, max_size=4, unique_by=lambda found: found.group),
    st.lists(workers_of, max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_the_bounds_hold_whatever_the_world(world):
    needs, workers = world
    decided = decide(needs, workers)
    assert len(decided.starts) + len(workers) <= max(RULES.max_workers, len(workers))
    for group in set(decided.starts):
        staying = [one for one in workers if one.group == group and not one.is_stopping]
        stopped = {stop.instance_id for stop in decided.stops}
        staying = [one for one in staying if one.instance_id not in stopped]
        assert len(staying) + decided.starts.count(group) <= RULES.max_per_version


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_a_connected_worker_that_holds_a_run_is_never_stopped(world):
    needs, workers = world
    holding = {one.instance_id for one in workers if one.held and one.silent_since is None}
    assert holding.isdisjoint(stop.instance_id for stop in decide(needs, workers).stops)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_nothing_is_started_that_is_not_wanted_and_nothing_stopped_twice(world):
    needs, workers = world
    decided = decide(needs, workers)
    wanted = {one.group for one in needs if one.ready or one.warm_since}
    assert set(decided.starts) <= wanted
    known = {one.instance_id for one in workers if not one.is_stopping}
    stopped = [stop.instance_id for stop in decided.stops]
    assert set(stopped) <= known
    assert len(stopped) == len(set(stopped))


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_applying_a_plan_leaves_nothing_more_to_do_at_that_moment(world):
    needs, workers = world
    first = decide(needs, workers)
    stopped = {stop.instance_id for stop in first.stops}
    after = [
        replace(one, is_stopping=one.is_stopping or one.instance_id in stopped) for one in workers
    ] + [starting(group) for group in first.starts]
    assert decide(needs, after) == Plan()


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_ready_runs_of_a_sound_version_get_a_worker_or_the_pool_is_full(world):
    needs, workers = world
    decided = decide(needs, workers)
    stopped = {stop.instance_id for stop in decided.stops}
    for one in needs:
        staying = [
            each
            for each in workers
            if each.group == one.group and not each.is_stopping and each.instance_id not in stopped
        ]
        is_full = len(workers) + len(decided.starts) >= RULES.max_workers
        if one.ready and not one.crashes and not staying and not is_full:
            assert one.group in decided.starts
