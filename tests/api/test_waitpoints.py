"""Tokens over HTTP: made, listed, and completed by a key, in a browser, or by a call back."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import override_settings

from apps.core import clock
from apps.core.ids import new_id, parse_public_id, public_id
from apps.environments import public_tokens
from apps.runs.models import Wait, Waitpoint
from apps.runs.operations.waitpoints import complete_due
from tests.api.client import Api
from tests.runs import engine

TOKENS = "/api/v1/waitpoints/tokens"


def make(api, **body):
    return api.post(TOKENS, body).ok()


def shown(api, token):
    return api.get(f"{TOKENS}/{token['id']}").ok()


def path_of(url):
    return "/" + url.split("/", 3)[3]


def test_a_token_is_made_with_what_the_client_sends(api):
    made = make(api, timeout="30m", tags=["a", "b"], idempotencyKey="wk", idempotencyKeyTTL="2h")
    found = shown(api, made)
    assert made["isCached"] is False
    assert (found["status"], found["tags"], found["idempotencyKey"]) == (
        "WAITING",
        ["a", "b"],
        "wk",
    )
    token = Waitpoint.objects.get()
    assert token.due_at - token.created_at == timedelta(minutes=30)
    assert token.idempotency_expires_at - token.created_at == timedelta(hours=2)
    assert found["timeoutAt"] == found["completedAfter"]
    assert found["url"] == made["url"]
    assert not {"completedAt", "output", "outputType", "outputIsError"} & found.keys()


def test_a_token_needs_nothing(api):
    found = shown(api, make(api))
    assert found["tags"] == []
    assert "idempotencyKey" not in found


def test_a_timeout_may_be_a_date(api):
    found = shown(api, make(api, timeout="2031-01-01T00:00:00Z"))
    assert found["timeoutAt"] == "2031-01-01T00:00:00Z"


def test_the_same_key_answers_with_the_same_token(api):
    first, second = make(api, idempotencyKey="k"), make(api, idempotencyKey="k")
    assert (second["isCached"], second["id"], second["url"]) == (True, first["id"], first["url"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"timeout": "soon"}, 422),
        ({"tags": [str(n) for n in range(11)]}, 422),
        ({"tags": 5}, 400),
        ({"idempotencyKey": ""}, 400),
        ({"idempotencyKey": "k", "idempotencyKeyTTL": "x"}, 422),
        ({"timeout": "99999w"}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(api, body, status):
    assert api.post(TOKENS, body).status == status
    assert not Waitpoint.objects.exists()


# -- Completion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "output", "kind"),
    [
        ({"data": {"a": [1]}}, '{"a": [1]}', "application/json"),
        ({"data": "text"}, '"text"', "application/json"),
        ({"data": None}, "null", "application/json"),
        ({"data": "a\0b"}, '"a\\u0000b"', "application/json"),
        ({"data": "plain", "dataType": "text/plain"}, "plain", "text/plain"),
    ],
)
def test_a_completed_token_shows_what_it_was_given(api, body, output, kind):
    made = make(api)
    assert api.post(f"{TOKENS}/{made['id']}/complete", body).ok() == {"success": True}
    found = shown(api, made)
    assert (found["status"], found["output"], found["outputType"], found["outputIsError"]) == (
        "COMPLETED", output, kind, False,
    )  # fmt: skip
    assert found["completedAt"]


def test_a_token_may_be_completed_with_nothing(api):
    made = make(api)
    assert api.post(f"{TOKENS}/{made['id']}/complete").ok() == {"success": True}
    assert "output" not in shown(api, made)


def test_completing_it_again_succeeds_and_changes_nothing(api):
    made = make(api)
    for value in ("first", "second"):
        assert api.post(f"{TOKENS}/{made['id']}/complete", {"data": value}).ok()["success"]
    assert shown(api, made)["output"] == '"first"'


def test_a_value_is_bounded(api):
    made = make(api)
    large = "x" * (3 * 1024 * 1024)
    assert api.post(f"{TOKENS}/{made['id']}/complete", {"data": large}).status == 413
    assert api.post(f"{TOKENS}/{made['id']}/complete", {"data": large * 3}).status == 413
    wrong = {"data": 1, "dataType": "text/plain"}
    assert api.post(f"{TOKENS}/{made['id']}/complete", wrong).status == 400
    unfit = {"data": "a\0b", "dataType": "text/plain"}
    assert api.post(f"{TOKENS}/{made['id']}/complete", unfit).status == 422


def test_a_timeout_is_an_error_that_clients_can_read(api):
    made = make(api, timeout="1m")
    complete_due(clock.now() + timedelta(minutes=2))
    found = shown(api, made)
    error = json.loads(found["output"])
    assert (found["status"], found["outputIsError"]) == ("TIMED_OUT", True)
    assert (error["code"], found["outputType"]) == ("TRIGGER_WAITPOINT_TIMEOUT", "application/json")
    assert error["message"]


# -- In a browser ------------------------------------------------------------------------------


def test_a_browser_completes_the_token_that_its_own_token_is_for(api):
    made, other = make(api), make(api)
    browser = Api(made["publicAccessToken"])
    assert browser.post(f"{TOKENS}/{made['id']}/complete", {"data": 1}).ok()["success"]
    assert browser.post(f"{TOKENS}/{other['id']}/complete", {"data": 1}).status == 403
    assert (browser.get(TOKENS).status, browser.post(TOKENS).status) == (403, 403)
    assert shown(api, other)["status"] == "WAITING"


def test_a_browser_that_may_only_read_completes_nothing(acme, api):
    made = make(api)
    scopes = [f"read:waitpoints:{made['id']}"]
    reader = Api(
        public_tokens.sign(acme.production.pk, scopes, lifetime=timedelta(hours=1), now=clock.now())
    )
    assert reader.get(f"{TOKENS}/{made['id']}").ok()["status"] == "WAITING"
    assert reader.post(f"{TOKENS}/{made['id']}/complete").status == 403


def test_a_browser_may_ask_before_it_completes(nobody):
    answer = nobody.send("OPTIONS", f"{TOKENS}/waitpoint_x/complete")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")


# -- Called back -------------------------------------------------------------------------------


def test_whoever_has_the_address_completes_the_token(api, nobody):
    made = make(api)
    assert nobody.post(path_of(made["url"]), {"status": "paid"}).ok() == {"success": True}
    assert shown(api, made)["output"] == '{"status": "paid"}'


@pytest.mark.parametrize("raw", [b"status=paid", b"{", b"\xff\xfe", b""])
def test_a_body_that_is_no_json_counts_as_empty(api, nobody, raw):
    made = make(api)
    answer = nobody.send(
        "POST", path_of(made["url"]), body=raw, headers={"content-length": str(len(raw))}
    )
    assert answer.ok() == {"success": True}
    assert shown(api, made)["output"] == "{}"


def test_an_address_is_of_one_token_only(api, nobody):
    made, other = make(api), make(api)
    secret = made["url"].rpartition("/")[2]
    assert nobody.post(f"{TOKENS}/{other['id']}/callback/{secret}", {}).status == 401
    assert nobody.post(f"{TOKENS}/{made['id']}/callback/{secret[:-1]}", {}).status == 401
    assert nobody.post(f"{TOKENS}/{made['id']}/callback/ü", {}).status == 401
    assert shown(api, other)["status"] == "WAITING"


def test_an_address_of_what_does_not_exist_is_not_found(api, nobody):
    path = path_of(make(api)["url"])
    Waitpoint.objects.all().delete()
    assert nobody.post(path, {}).status == 404


def test_a_callback_says_how_long_it_is(api, nobody):
    made = make(api)
    answer = nobody.send("POST", path_of(made["url"]), body=b"", headers={"content-length": ""})
    assert answer.status == 411


def test_an_address_outlives_the_key_that_it_was_made_under(api, nobody, settings):
    made = make(api)
    with override_settings(SEALING_KEYS=["a newer key", *settings.SEALING_KEYS]):
        assert nobody.post(path_of(made["url"]), {}).ok() == {"success": True}


# -- Lists -------------------------------------------------------------------------------------


def ids(answer):
    return [item["id"] for item in answer.ok()["data"]]


def test_tokens_are_listed_newest_first_page_by_page(api):
    made = [make(api)["id"] for _ in range(5)]
    first = api.get(TOKENS, {"page[size]": 2})
    after = first.ok()["pagination"]["next"]
    second = api.get(TOKENS, {"page[size]": 2, "page[after]": after})
    back = api.get(TOKENS, {"page[size]": 2, "page[before]": second.ok()["pagination"]["previous"]})
    assert ids(first) + ids(second) == made[:0:-1]
    assert ids(back) == ids(first)
    assert "previous" not in first.ok()["pagination"]


def test_tokens_are_found_by_what_they_are(api):
    done, late, open_one = (make(api, tags=[tag], timeout="1m") for tag in ("a", "b", "c"))
    keyed = make(api, idempotencyKey="k", tags=["a", "z"])
    api.post(f"{TOKENS}/{done['id']}/complete")
    Waitpoint.objects.filter(pk=parse_public_id("waitpoint", open_one["id"])).update(
        due_at=clock.now() + timedelta(days=1)
    )
    complete_due(clock.now() + timedelta(minutes=2))
    for filters, wanted in (
        ({"status": "COMPLETED"}, [done]),
        ({"status": "TIMED_OUT"}, [late]),
        ({"status": "COMPLETED,WAITING"}, [keyed, open_one, done]),
        ({"tags": "a"}, [keyed, done]),
        ({"tags": "b,c"}, [open_one, late]),
        ({"idempotencyKey": "k"}, [keyed]),
        ({"createdAt][period": "1h"}, [keyed, open_one, late, done]),
        ({"createdAt][to": "2020-01-01"}, []),
    ):
        query = {f"filter[{name}]": value for name, value in filters.items()}
        assert ids(api.get(TOKENS, query)) == [token["id"] for token in wanted], filters
    assert api.get(TOKENS, {"filter[status]": "LATE"}).status == 400


def test_what_is_no_token_is_not_shown(acme, api):
    now = clock.now()
    other = Waitpoint.objects.create(
        environment=acme.production, kind="time", due_at=now, created_at=now
    )
    assert ids(api.get(TOKENS)) == []
    assert api.get(f"{TOKENS}/{public_id('waitpoint', other.pk)}").status == 404


def test_charlie_sees_and_completes_nothing_of_alices(api, charlie):
    made = make(api)
    assert ids(charlie.get(TOKENS)) == []
    assert charlie.get(f"{TOKENS}/{made['id']}").status == 404
    assert charlie.post(f"{TOKENS}/{made['id']}/complete").status == 404
    assert charlie.get(f"{TOKENS}/nonsense").status == 404
    assert shown(api, made)["status"] == "WAITING"


# -- From inside of a task ---------------------------------------------------------------------


@pytest.fixture
def work(acme):
    """A run that executes, and its worker."""
    worker = engine.Worker(engine.version(acme.production, "hello"))
    engine.trigger(acme.scope)
    (work,) = worker.claim()
    worker.start(work)
    return worker, work


def test_a_running_task_waits_for_a_token(acme, api, work):
    worker, run = work
    made = make(api)
    path = f"/engine/v1/runs/{run.run}/waitpoints/tokens/{made['id']}/wait"
    assert api.post(path).ok() == {"success": True}
    assert engine.get(run.run).status == "WAITING"
    api.post(f"{TOKENS}/{made['id']}/complete", {"data": 1})
    (resume,) = worker.resume()
    assert resume.results[0].output == "1"
    assert engine.unsound() == []


def test_a_running_task_waits_for_a_time_and_by_a_key_for_the_same(api, work):
    worker, run = work
    path = f"/engine/v1/runs/{run.run}/wait/duration"
    first = api.post(path, {"date": "2031-01-01T00:00:00Z", "idempotencyKey": "k"}).ok()
    again = api.post(path, {"date": "2032-01-01T00:00:00Z", "idempotencyKey": "k"}).ok()
    assert first == again
    assert first["waitUntil"] == "2031-01-01T00:00:00Z"
    assert (engine.get(run.run).status, Wait.objects.count()) == ("WAITING", 1)
    complete_due(clock.now() + timedelta(days=3_650))
    assert len(worker.resume()) == 1
    assert engine.unsound() == []


def test_what_a_running_task_waits_for_adds_up(api, work):
    worker, run = work
    tokens = [make(api) for _ in range(2)]
    for token in tokens:
        api.post(f"/engine/v1/runs/{run.run}/waitpoints/tokens/{token['id']}/wait").ok()
    api.post(f"{TOKENS}/{tokens[0]['id']}/complete")
    assert worker.resume() == []
    api.post(f"{TOKENS}/{tokens[1]['id']}/complete")
    assert len(worker.resume()[0].results) == 2


def test_only_a_run_that_executes_can_wait(acme, api, charlie, work):
    _, run = work
    made = make(api)
    queued = public_id("run", engine.trigger(acme.scope))
    path = "/engine/v1/runs/{}/waitpoints/tokens/{}/wait"
    assert api.post(path.format(queued, made["id"])).status == 409
    assert api.post(path.format(public_id("run", new_id()), made["id"])).status == 404
    theirs = make(charlie)
    assert api.post(path.format(run.run, theirs["id"])).status == 404
    assert charlie.post(path.format(run.run, theirs["id"])).status == 404
    assert charlie.post(f"/engine/v1/runs/{run.run}/wait/duration", {
        "date": "2031-01-01T00:00:00Z"
    }).status == 404  # fmt: skip
    assert engine.get(run.run).status == "EXECUTING"
