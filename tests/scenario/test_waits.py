"""Waits of the shipped worker against a live server and a running engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.core import clock
from apps.environments.models import Environment
from apps.runs.models import EnvironmentSlots, Lane, Waitpoint
from apps.runs.queries import invariant_violations
from apps.runs.states import WaitpointKind
from tests.scenario.conftest import eventually, running_engine

DEPTH = 50


@pytest.fixture(autouse=True)
def engine(shop) -> Iterator[None]:
    """An engine, in a thread of this process."""
    with running_engine():
        yield


def limit(shop, slots: int) -> None:
    Environment.objects.filter(pk=shop.tenant.production.pk).update(concurrency_limit=slots)


def tokens_of(shop, run_id: str, count: int = 1) -> list[str]:
    """The tokens that a run has made, once it waits for them."""
    eventually(lambda: shop.client.runs.retrieve(run_id).status == "WAITING")
    found = [token.id for token in shop.client.tokens.list(tags=run_id)]
    assert len(found) == count
    return found


def sound() -> bool:
    used = EnvironmentSlots.objects.get().used + sum(Lane.objects.values_list("used", flat=True))
    return invariant_violations(now=clock.now()) == [] and used == 0


def test_a_run_rests_without_a_slot_and_goes_on(shop):
    limit(shop, 1)
    shop.start_worker(capacity=1)
    resting = shop.client.trigger("nap", 8)
    eventually(lambda: shop.client.runs.retrieve(resting.id).status == "WAITING")
    other = shop.finished(shop.client.trigger("hello", {"name": "bob"}).id)
    assert other.status == "COMPLETED"
    run = shop.finished(resting.id)
    assert (run.status, run.output) == ("COMPLETED", "rested")
    assert run.metadata == {"waits": 1, "resumes": 1}
    assert eventually(sound)


@pytest.mark.parametrize("task", ["nap", "nap_plain"])
def test_the_shortest_wait_is_a_wait_too(shop, task):
    shop.start_worker()
    run = shop.finished(shop.client.trigger(task, 0.05).id)
    assert (run.status, run.output, run.metadata["waits"]) == ("COMPLETED", "rested", 1)


def test_a_person_completes_a_token_that_a_run_waits_for(shop):
    shop.start_worker()
    handle = shop.client.trigger("ask", "1h")
    (token,) = tokens_of(shop, handle.id)
    shop.client.tokens.complete(token, {"approved": {1, 2}})
    assert shop.finished(handle.id).output == {"approved": [1, 2]}
    found = shop.client.tokens.retrieve(token)
    assert (found.status, found.output) == ("COMPLETED", {"approved": {1, 2}})


def test_a_token_that_times_out_is_a_typed_error(shop):
    shop.start_worker()
    run = shop.finished(shop.client.trigger("ask", "1s").id)
    assert (run.status, run.error.name) == ("FAILED", "TokenTimedOut")


def test_the_first_of_two_wins_whichever_it_is(shop):
    shop.start_worker()
    early = shop.client.trigger("ask_any", {"seconds": 600})
    shop.client.tokens.complete(tokens_of(shop, early.id)[0], "fast")
    assert shop.finished(early.id).output == ["token", "fast"]
    late = shop.client.trigger("ask_any", {"seconds": 0.2})
    eventually(lambda: shop.client.runs.retrieve(late.id).metadata == {"waits": 2, "resumes": 1})
    shop.client.tokens.complete(tokens_of(shop, late.id)[0], "slow")
    assert shop.finished(late.id).output == ["time", "slow"]
    assert eventually(sound)


def test_all_of_many_kinds_at_once(shop):
    shop.start_worker()
    handle = shop.client.trigger("ask_all", 5)
    for number, token in enumerate(reversed(tokens_of(shop, handle.id, 5))):
        shop.client.tokens.complete(token, number)
    run = shop.finished(handle.id)
    assert run.output == [0, 1, 2, 3, 4, "rested", None]
    assert eventually(sound)


def test_who_gives_up_a_wait_goes_on_in_a_slot(shop):
    limit(shop, 1)
    shop.start_worker(capacity=1)
    run = shop.finished(shop.client.trigger("impatient").id)
    assert (run.status, run.output, run.metadata["after"]) == ("COMPLETED", "gave up", "gave up")
    assert eventually(sound)


def test_a_waiting_run_is_canceled_and_its_process_goes(shop):
    shop.start_worker(capacity=1)
    handle = shop.client.trigger("ask", "1h")
    (token,) = tokens_of(shop, handle.id)
    shop.client.runs.cancel(handle.id)
    assert shop.finished(handle.id).status == "CANCELED"
    shop.client.tokens.complete(token, 1)
    assert shop.finished(shop.client.trigger("hello", {"name": "bob"}).id).status == "COMPLETED"
    assert eventually(sound)


def test_a_named_wait_is_not_begun_again_by_a_retry(shop):
    shop.start_worker()
    run = shop.finished(shop.client.trigger("nap_again", 3).id)
    assert (run.status, run.attempt_count) == ("COMPLETED", 2)
    assert Waitpoint.objects.filter(kind=WaitpointKind.TIME.value).count() == 1


def test_waits_nested_fifty_deep_at_a_limit_of_one_end(shop):
    limit(shop, 1)
    shop.start_worker(capacity=1)
    run = shop.finished(shop.client.trigger("nest", {"depth": DEPTH}).id, within=420)
    assert (run.status, run.output) == ("COMPLETED", DEPTH)
    assert eventually(sound)


@pytest.mark.parametrize("task", ["chat", "chat_held"])
def test_a_run_is_sent_input_while_it_waits_and_before(shop, task):
    shop.start_worker()
    handle = shop.client.trigger(task, 3)
    shop.client.runs.send_input(handle.id, "message", "a")
    shop.client.runs.send_input(handle.id, "message", "b")
    eventually(lambda: Waitpoint.objects.filter(kind=WaitpointKind.INPUT, seq=2).exists())
    eventually(lambda: shop.client.runs.retrieve(handle.id).status == "WAITING")
    shop.client.runs.send_input(handle.id, "message", "c")
    run = shop.finished(handle.id)
    assert (run.status, [word.lower() for word in run.output]) == ("COMPLETED", ["a", "b", "c"])
    assert eventually(sound)
