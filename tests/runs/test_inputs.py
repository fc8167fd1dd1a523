"""Inputs: what is sent to a run is kept, and wakes the run that waits for just this item."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.errors import Forbidden, Invalid, NotFound, TooLarge
from apps.core.ids import new_id, parse_public_id, public_id
from apps.orgs.roles import Role
from apps.runs import queries
from apps.runs.errors import InputTooLate
from apps.runs.limits import Limits
from apps.runs.models import EnvironmentSlots, Input, RunEvent, Waitpoint
from apps.runs.operations.inputs import (
    Item,
    WaitRequest,
    create_input_wait,
    send_input,
)
from apps.runs.operations.waitpoints import block_run, complete_due, forget_waitpoints
from holdfast.protocol import Expected
from tests import factories
from tests.runs.engine import (
    NOW,
    Worker,
    completed,
    execute,
    get,
    kinds,
    later,
    suspended,
    trigger,
    unsound,
    version,
)
from tests.runs.threads import together

pytestmark = pytest.mark.django_db

_ROUNDS = 8


def send(acme, work, data='"yes"', *, key="approval", now=NOW, **options):
    run_id = parse_public_id("run", work.run)
    item = Item(key=key, data=data, **options)
    return send_input(acme.scope, run_id=run_id, item=item, now=now)


def expected(seq=0, *, key="approval", seconds=None, waitpoint_id=None):
    """An item that a run waits for, and its id."""
    chosen = waitpoint_id or new_id()
    due_ms = None if seconds is None else round(later(seconds).timestamp() * 1000)
    return chosen, Expected(
        id=public_id("waitpoint", chosen), key=key, seq=seq, due_ms=due_ms
    )  # fmt: skip


def wait_for_input(worker, work, seq=0, **options):
    chosen, item = expected(seq, **options)
    worker.say(suspended(work, chosen, inputs=[item]))
    return chosen


# -- Sent and waited for -----------------------------------------------------------------------


def test_a_run_that_waits_for_input_holds_no_slot_until_it_is_sent(acme, worker, work):
    wait_for_input(worker, work)
    assert (get(work.run).status, EnvironmentSlots.objects.get().used) == ("WAITING", 0)
    assert worker.resume(now=later(9_999)) == []
    assert send(acme, work, '{"ok": true}').seq == 0
    (resume,) = worker.resume()
    (result,) = resume.results
    assert (result.ok, result.output, result.key, result.seq, result.due_ms) == (
        True, '{"ok": true}', "approval", 0, None,
    )  # fmt: skip
    worker.say(completed(work, generation=resume.generation))
    assert kinds(work.run) == [
        "triggered", "dequeued", "started", "waiting", "input", "woken", "resumed", "completed",
    ]  # fmt: skip
    assert RunEvent.objects.get(kind="input").detail == {"input": "approval", "seq": 0}
    assert unsound() == []


def test_what_was_sent_before_the_wait_resumes_at_once(acme, worker, work):
    send(acme, work, '"first"')
    send(acme, work, '"second"')
    wait_for_input(worker, work, 1)
    assert worker.resume()[0].results[0].output == '"second"'
    assert unsound() == []


def test_input_is_kept_from_the_trigger_on(acme, worker):
    run_id = trigger(acme.scope)
    send_input(acme.scope, run_id=run_id, item=Item(key="approval", data='"early"'), now=NOW)
    (work,) = worker.claim()
    worker.start(work)
    wait_for_input(worker, work)
    assert worker.resume()[0].results[0].output == '"early"'


def test_each_item_wakes_only_who_waits_for_it(acme, worker):
    first, second = execute(acme.scope, worker), execute(acme.scope, worker)
    wait_for_input(worker, first)
    wait_for_input(worker, second, 1)
    send(acme, first, key="other")
    send(acme, second)
    assert worker.resume() == []
    send(acme, first)
    send(acme, second)
    assert {resume.run for resume in worker.resume()} == {first.run, second.run}
    assert unsound() == []


def test_items_are_counted_for_each_name_of_each_run(acme, worker):
    first, second = execute(acme.scope, worker), execute(acme.scope, worker)
    sent = [
        send(acme, first, key="a").seq,
        send(acme, first, key="b").seq,
        send(acme, first, key="a").seq,
        send(acme, second, key="a").seq,
    ]
    assert sent == [0, 0, 1, 0]
    numbers = Input.objects.filter(run_id=parse_public_id("run", first.run))
    assert list(numbers.values_list("number", "total_bytes")) == [(1, 5), (2, 10), (3, 15)]


def test_nothing_in_time_resumes_with_word_of_that(worker, work):
    wait_for_input(worker, work, seconds=60)
    assert complete_due(later(59)) == 0
    assert complete_due(later(60)) == 1
    (result,) = worker.resume(now=later(60))[0].results
    due_ms = round(later(60).timestamp() * 1000)
    assert (result.ok, result.key, result.seq, result.due_ms) == (False, "approval", 0, due_ms)
    assert unsound() == []


def test_a_time_that_is_over_resumes_at_once_and_an_item_wins(acme, worker):
    late, lucky = execute(acme.scope, worker), execute(acme.scope, worker)
    send(acme, lucky)
    for work in (late, lucky):
        wait_for_input(worker, work, seconds=-1)
    answers = {resume.run: resume.results[0].ok for resume in worker.resume()}
    assert answers == {late.run: False, lucky.run: True}


def test_a_wait_that_is_said_again_after_the_item_came_is_woken_once(acme, worker, work):
    chosen, item = expected()
    worker.say(suspended(work, chosen, inputs=[item]))
    send(acme, work)
    worker.say(suspended(work, chosen, inputs=[item]))
    assert len(worker.resume()) == 1
    assert kinds(work.run).count("woken") == 1
    assert unsound() == []


def test_several_inputs_and_a_time_are_waited_for_together(acme, worker, work):
    (one, item), (other, elsewhere) = expected(), expected(key="stop")
    worker.say(suspended(work, one, other, inputs=[item, elsewhere]))
    send(acme, work, key="stop")
    (resume,) = worker.resume()
    assert [result.key for result in resume.results] == ["stop"]
    assert unsound() == []


def test_another_worker_makes_no_waits_for_a_run(acme, work):
    stranger = Worker(version(acme.staging, "hello"))
    wait_for_input(stranger, work)
    assert not Waitpoint.objects.exists()
    assert get(work.run).status == "EXECUTING"


@pytest.mark.parametrize(
    "changes", [{"key": ""}, {"key": "x" * 256}, {"seq": -1}, {"seq": 10**30}, {"key": "\0"}]
)
def test_a_worker_that_waits_for_what_cannot_be_ends_its_run(worker, work, changes):
    wait_for_input(worker, work, **{"seq": 0} | changes)
    assert get(work.run).status == "SYSTEM_FAILURE"


def test_the_page_says_which_input_a_run_waits_for(acme, worker, work):
    run_id = parse_public_id("run", work.run)
    wait_for_input(worker, work)
    assert "It waits for input 'approval'," in queries.explain(acme.scope, run_id)

    other = execute(acme.scope, worker)
    wait_for_input(worker, other, seconds=60)
    text = queries.explain(acme.scope, parse_public_id("run", other.run))
    assert f"for input 'approval', until {later(60):%Y-%m-%d %H:%M:%S} UTC" in text


def test_a_wait_that_was_given_up_is_forgotten_in_the_end(acme, worker, work):
    today = clock.now()  # the age of a waitpoint is that of its id, which the real clock makes
    (one, item), (other, elsewhere) = expected(), expected(key="stop")
    worker.say(suspended(work, one, other, inputs=[item, elsewhere]), now=today)
    send(acme, work, now=today)
    (resume,) = worker.resume(now=today)
    chosen, still = expected(key="open")
    worker.say(suspended(resume, chosen, inputs=[still]), now=today)
    assert forget_waitpoints(today + timedelta(days=29)) == 0
    assert forget_waitpoints(today + timedelta(days=31)) == 2
    assert [point.key for point in Waitpoint.objects.all()] == ["open"]


# -- What is refused ---------------------------------------------------------------------------


def test_a_run_that_has_ended_takes_no_input(acme, worker, work):
    worker.say(completed(work))
    with pytest.raises(InputTooLate):
        send(acme, work)
    assert not Input.objects.exists()


def test_the_same_part_is_kept_once(acme, work):
    first = send(acme, work, part="p1")
    again = send(acme, work, part="p1")
    other = send(acme, work, part="p2")
    elsewhere = send(acme, work, part="p1", key="other")
    assert [(sent.seq, sent.is_cached) for sent in (first, again, other, elsewhere)] == [
        (0, False), (0, True), (1, False), (0, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "problem", "text"),
    [
        ({"input_bytes": 5}, TooLarge, "may have 5 bytes, this one has 6"),
        ({"inputs_per_run": 2}, Invalid, "may be sent 2 items"),
        ({"input_total_bytes": 15}, Invalid, "may be sent 15 bytes"),
    ],
)
def test_a_run_may_be_sent_so_much(acme, work, settings, bounds, problem, text):
    settings.LIMITS = Limits(**bounds)
    send(acme, work, '"yes"')
    send(acme, work, '"yes"', key="other")
    with pytest.raises(problem, match=text):
        send(acme, work, '"yess"')
    assert Input.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "\0"])
def test_a_name_that_cannot_be_is_refused(acme, work, key):
    with pytest.raises(Invalid):
        send(acme, work, key=key)


def test_charlie_sends_nothing_to_alices_run(acme, work, charlie):
    with pytest.raises(NotFound):
        send(charlie, work)


def test_a_viewer_sends_nothing(acme, work):
    scope = factories.user_scope(acme.production, factories.person("vic"), Role.VIEWER)
    item = Item(key="approval")
    with pytest.raises(Forbidden):
        send_input(scope, run_id=parse_public_id("run", work.run), item=item, now=NOW)


# -- As a run's own code asks from outside -----------------------------------------------------


def asked(acme, work, *, now=NOW, **options):
    run_id = parse_public_id("run", work.run)
    request = WaitRequest(key="approval", **options)
    return create_input_wait(acme.scope, run_id=run_id, request=request, now=now)


def test_code_may_ask_for_a_wait_and_then_block_on_it(acme, worker, work):
    made = asked(acme, work)
    run_id = parse_public_id("run", work.run)
    block_run(acme.scope, run_id=run_id, waitpoint_id=made.waitpoint_id, now=NOW)
    assert get(work.run).status == "WAITING"
    send(acme, work)
    assert worker.resume()[0].results[0].output == '"yes"'
    assert unsound() == []


def test_a_wait_for_what_has_been_sent_is_over_at_once(acme, work):
    send(acme, work, '"a"')
    send(acme, work, '"b"')
    made = Waitpoint.objects.get(pk=asked(acme, work, seq=1, tags=["x"]).waitpoint_id)
    assert (made.output, made.completed_at, made.tags) == ('"b"', NOW, ["x"])


def test_the_same_key_finds_the_same_wait(acme, work):
    first = asked(acme, work, idempotency_key="k")
    again = asked(acme, work, idempotency_key="k")
    much_later = asked(acme, work, idempotency_key="k", now=later(7_200))
    assert (first.is_cached, again.is_cached) == (False, True)
    assert first.waitpoint_id == again.waitpoint_id != much_later.waitpoint_id


# -- At the same moment ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_item_and_a_wait_at_the_same_moment_do_not_miss_each_other(acme, worker):
    for _ in range(_ROUNDS):
        work = execute(acme.scope, worker)
        together(lambda: send(acme, work), lambda: wait_for_input(worker, work))  # noqa: B023
        (resume,) = worker.resume()
        worker.say(completed(work, generation=resume.generation))
    assert unsound() == []


@pytest.mark.django_db(transaction=True)
def test_items_at_the_same_moment_are_all_kept_in_one_order(acme, work):
    sent = together(*[lambda: send(acme, work)] * 6)
    assert sorted(each.seq for each in sent) == [0, 1, 2, 3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_an_item_and_the_end_of_its_run_at_the_same_moment(acme, worker):
    for _ in range(_ROUNDS):
        work = execute(acme.scope, worker)
        together(lambda: worker.say(completed(work)), lambda: _tried(acme, work))  # noqa: B023
        run = get(work.run)
        late = RunEvent.objects.filter(run_id=run.pk, kind="input", status=run.status)
        assert not late.exists()
    assert unsound() == []


def _tried(acme, work):
    try:
        send(acme, work)
    except InputTooLate:
        return False
    return True
