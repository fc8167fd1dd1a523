"""Server-Sent Events of a live web process."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest
from django.db import connection, transaction
from django.test import Client

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.environments import public_tokens
from apps.orgs.models import Membership
from apps.orgs.roles import Role
from apps.runs.feed import latest_cursor
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.metadata import change_metadata
from apps.runs.operations.tags import add_tags
from tests import factories
from tests.live import test_database_url as database_url
from tests.live import web_process
from tests.realtime.listening import PATH, PATIENCE, listening
from tests.runs.engine import trigger

pytestmark = pytest.mark.django_db(transaction=True)


def run(tenant, task="hello", **options):
    return public_id("run", trigger(tenant.scope, task, now=clock.now(), **options))


def environment(tenant):
    return f"environment={public_id('env', tenant.production.id)}"


def cookie_of(user):
    browser = Client()
    browser.force_login(user)
    return f"sessionid={browser.cookies['sessionid'].value}"


def token(tenant, *scopes, **options):
    options = {"lifetime": timedelta(hours=1)} | options
    return public_tokens.sign(tenant.production.id, scopes, now=clock.now(), **options)


# -- What is told ------------------------------------------------------------------------------


def test_a_run_is_told_with_ids_and_a_cursor(server, acme):
    with listening(server, secret=acme.secret) as stream:
        new = run(acme)
        event = stream.change(new, "triggered")

    (change,) = event.data
    assert change == {
        "run": new, "status": "QUEUED", "kind": "triggered", "attempt": 0, "task": "hello",
    }  # fmt: skip
    assert stream.cursor


def test_the_answer_is_a_stream_that_nothing_buffers(server, acme):
    with listening(server, secret=acme.secret) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "no-transform" in stream.headers["cache-control"]
        assert stream.headers["x-accel-buffering"] == "no"


def test_metadata_tags_and_the_end_are_told_too(server, acme):
    new = trigger(acme.scope, now=clock.now())
    name = public_id("run", new)
    with listening(server, secret=acme.secret) as stream:
        change_metadata(acme.scope, run_id=new, metadata={"done": 1}, now=clock.now())
        stream.change(name, "metadata")
        add_tags(acme.scope, run_id=new, tags=["late"], now=clock.now())
        stream.change(name, "tagged")
        cancel_run(acme.scope, run_id=new, now=clock.now())
        event = stream.change(name, "canceled")
    assert [one["status"] for one in event.data if one["kind"] == "canceled"] == ["CANCELED"]


def test_a_silent_stream_beats_and_its_cursor_moves_on(server, acme):
    with listening(server, secret=acme.secret) as stream:
        first = stream.named("beat")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")  # something else happens
        stream.expect(lambda event: event.event == "beat" and event.cursor != first.cursor)


def test_another_environment_is_not_told(server, acme):
    other = factories.globex()
    with listening(server, secret=acme.secret) as stream:
        run(other)
        new = run(acme)
        stream.change(new, "triggered")
    assert {name for name, _ in stream.told()} == {new}


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({"tags": ("mine", "other")}, "tag=mine"),
        ({"task": "parent"}, "task=parent"),
        ({"tags": ("mine",)}, "task=nothing&tag=mine"),
    ],
)
def test_a_stream_may_be_about_runs_of_some_name_only(server, acme, options, query):
    with listening(server, query, secret=acme.secret) as stream:
        run(acme, tags=("else",))
        wanted = run(acme, **options)
        stream.change(wanted, "triggered")
    assert {name for name, _ in stream.told()} == {wanted}


def test_a_stream_about_a_run_may_have_its_family(server, acme):
    parent = trigger(acme.scope, "parent", now=clock.now())
    name = public_id("run", parent)
    with listening(server, f"run={name}&parent={name}&root={name}", secret=acme.secret) as stream:
        run(acme)
        child = trigger(acme.scope, now=clock.now(), parent_run_id=parent)
        grandchild = run(acme, parent_run_id=child)
        event = stream.change(grandchild, "triggered")
        cancel_run(acme.scope, run_id=parent, now=clock.now())
        stream.change(name, "canceled")
    assert {each["run"] for each in event.data} <= {name, public_id("run", child), grandchild}
    assert {one for one, _ in stream.told()} == {name, public_id("run", child), grandchild}


# -- Cursors -----------------------------------------------------------------------------------


def test_a_stream_goes_on_from_its_last_cursor(server, acme):
    with listening(server, secret=acme.secret) as stream:
        stream.change(run(acme), "triggered")
        place = stream.cursor
    missed = run(acme)
    with listening(server, secret=acme.secret, last_event_id=place) as again:
        pass
    assert (missed, "triggered") in again.told()


def test_the_cursor_of_a_page_misses_nothing_of_what_came_after(server, acme):
    before = run(acme)
    place = latest_cursor(now=clock.now())
    after = [run(acme) for _ in range(3)]
    with listening(server, f"cursor={place}", secret=acme.secret) as stream:
        pass
    assert [name for name, _ in stream.told() if name != before] == after


def test_a_commit_that_comes_late_is_not_missed(server, acme):
    """It began before the cursor and ended after it."""
    late, early = run(acme), run(acme)
    with transaction.atomic():
        note(acme, late)
        place = _elsewhere(lambda: str(latest_cursor(now=clock.now())))
        _elsewhere(lambda: note(acme, early))
        with listening(server, f"cursor={place}", secret=acme.secret) as stream:
            assert (early, "metadata") in stream.told()
            place = stream.cursor
    with listening(server, f"cursor={place}", secret=acme.secret) as again:
        pass
    assert (late, "metadata") in again.told()


def test_what_happens_beside_a_long_transaction_is_told_at_once_and_once(server, acme):
    late, early = run(acme), run(acme)
    with listening(server, secret=acme.secret) as stream:
        with transaction.atomic():
            note(acme, late)
            _elsewhere(lambda: note(acme, early))
            stream.change(early, "metadata")
            assert (late, "metadata") not in stream.told()
        stream.change(late, "metadata")
        stream.change(run(acme), "triggered")
    assert stream.told().count((early, "metadata")) == 1


def note(tenant, name):
    """Change a run without moving it, which locks nothing but the run."""
    run_id = parse_public_id("run", name)
    change_metadata(tenant.scope, run_id=run_id, metadata={"seen": True}, now=clock.now())


def _elsewhere(work):
    """Do it on another connection, which sees only what is committed."""
    found = []

    def do():
        try:
            found.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=do)
    thread.start()
    thread.join()
    return found[0]


def test_who_missed_too_much_is_told_to_look_anew(server, acme):
    place = latest_cursor(now=clock.now())
    for _ in range(51):
        run(acme)
    with listening(server, f"cursor={place}", secret=acme.secret) as stream:
        assert [event.data for event in stream.heard if event.event == "resync"] == [
            {"reason": "many"}
        ]
        new = run(acme)
        stream.change(new, "triggered")


def test_who_comes_back_after_days_is_told_to_look_anew(server, acme):
    old = latest_cursor(now=clock.now() - timedelta(days=2))
    with listening(server, f"cursor={old}", secret=acme.secret) as stream:
        assert stream.heard[0].data == {"reason": "old"}


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", "1-", "-1-" + "0" * 32, "1-" + "f" * 32, "9" * 30 + "-" + "0" * 32, "\uff11-x"],
)
def test_what_is_no_cursor_is_refused(server, acme, cursor):
    with listening(server, f"cursor={quote(cursor)}", secret=acme.secret) as stream:
        assert (stream.status, json.loads(stream.body)["code"]) == (422, "invalid")


def test_another_process_goes_on_where_this_one_was(server, acme):
    with listening(server, secret=acme.secret) as stream:
        stream.change(run(acme), "triggered")
        place = stream.cursor
    missed = run(acme)
    with (
        web_process(database_url(), REDIS_URL="unix:///nowhere/redis.sock") as other,
        listening(other, f"cursor={place}", secret=acme.secret) as again,
    ):
        assert (missed, "triggered") in again.told()
        again.change(run(acme), "triggered")  # without Redis it is found by looking


def test_a_server_that_stops_says_so(server, acme):
    with (
        contextlib.ExitStack() as stack,
        contextlib.ExitStack() as streams,
    ):
        other = stack.enter_context(web_process(database_url()))
        stream = streams.enter_context(listening(other, secret=acme.secret))
        stack.close()
        last = [event for event in stream.ended() if event.event != "beat"]
    assert [(event.event, event.data) for event in last] == [("end", {"reason": "shutdown"})]


# -- Who may watch -----------------------------------------------------------------------------


def refused(server, query="", **options):
    with listening(server, query, **options) as stream:
        assert stream.status != 200, "it opened"
        body = json.loads(stream.body)
        assert body["code"]
        return stream.status


def test_strangers_are_refused(server, acme):
    assert refused(server) == 401
    assert refused(server, environment(acme)) == 401
    assert refused(server, secret="tr_prod_nonsense") == 401
    assert refused(server, secret="nonsense") == 401
    assert refused(server, environment(acme), cookie="sessionid=nonsense") == 401
    assert refused(server, environment(acme), authorization="Basic x") == 401


def test_a_member_watches_by_session(server, acme):
    with listening(server, environment(acme), cookie=cookie_of(factories.bob())) as stream:
        new = run(acme)
        stream.change(new, "triggered")
        assert "access-control-allow-origin" not in stream.headers


def test_a_person_says_which_environment(server, acme):
    assert refused(server, cookie=cookie_of(factories.bob())) == 404
    assert refused(server, "environment=env_x", cookie=cookie_of(factories.bob())) == 404


def test_a_person_watches_by_personal_token(server, acme):
    secret = factories.personal_token(factories.bob())
    with listening(server, environment(acme), secret=secret) as stream:
        stream.change(run(acme), "triggered")


def test_charlie_watches_nothing_of_acme(server, acme):
    cookie, his = cookie_of(factories.charlie()), factories.globex()
    secret = factories.personal_token(factories.charlie())
    new = run(acme)
    assert refused(server, environment(acme), cookie=cookie) == 404
    assert refused(server, environment(acme), secret=secret) == 404
    assert refused(server, environment(acme), secret=his.secret) == 404
    assert refused(server, f"run={new}", secret=his.secret) == 404
    assert refused(server, f"run={new}", secret=token(his, "read:runs")) == 404


def test_nobody_watches_the_development_environment_of_another(server, acme):
    alices = f"environment={public_id('env', acme.development.id)}"
    assert refused(server, alices, cookie=cookie_of(factories.bob())) == 404
    with listening(server, alices, cookie=cookie_of(factories.alice())) as stream:
        assert stream.status == 200


def test_a_page_of_another_site_cannot_use_the_cookie(server, acme):
    cookie = cookie_of(factories.bob())
    status = refused(server, environment(acme), cookie=cookie, sec_fetch_site="cross-site")
    assert status == 403


def test_a_public_token_watches_what_it_names_from_any_origin(server, acme):
    watched, other = trigger(acme.scope, now=clock.now()), run(acme)
    name = public_id("run", watched)
    secret = token(acme, f"read:runs:{name}")
    with listening(server, f"run={name}", secret=secret, origin="https://shop.example") as stream:
        assert stream.headers["access-control-allow-origin"] == "*"
        cancel_run(acme.scope, run_id=watched, now=clock.now())
        stream.change(name, "canceled")
    assert refused(server, secret=secret) == 403
    assert refused(server, f"run={other}", secret=secret) == 403
    assert refused(server, f"run={name}&parent={name}", secret=secret) == 403
    assert refused(server, "tag=mine", secret=secret) == 403


def test_a_public_token_watches_a_tag_and_the_runs_that_have_it(server, acme):
    tagged = run(acme, tags=("mine",))
    secret = token(acme, "read:tags:mine")
    with listening(server, "tag=mine", secret=secret) as stream:
        run(acme)
        stream.change(run(acme, tags=("mine",)), "triggered")
    with listening(server, f"run={tagged}", secret=secret) as stream:
        assert stream.status == 200


def test_a_token_that_may_be_used_once_opens_nothing(server, acme):
    assert refused(server, secret=token(acme, "read:runs", is_one_time=True)) == 401


def test_a_run_that_does_not_exist_is_not_found(server, acme):
    assert refused(server, f"run={'run_' + '0' * 26}", secret=acme.secret) == 404
    assert refused(server, "run=nonsense", secret=acme.secret) == 404


def test_too_many_names_are_refused(server, acme):
    assert refused(server, "&".join(f"tag={n}" for n in range(51)), secret=acme.secret) == 422
    assert refused(server, "tag=", secret=acme.secret) == 422


def test_a_preflight_is_answered(server):
    answer = httpx.options(
        server.url + PATH, headers={"origin": "https://shop.example"}, timeout=PATIENCE
    )
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")


def test_other_methods_are_not_streams(server, acme):
    headers = {"authorization": f"Bearer {acme.secret}"}
    answer = httpx.post(server.url + PATH, headers=headers, timeout=PATIENCE)
    assert answer.status_code in (404, 405)


# -- For how long ------------------------------------------------------------------------------


def ends_unauthorized(stream):
    last = stream.ended()[-1]
    return (last.event, last.data) == ("end", {"reason": "unauthorized"})


def test_a_member_who_leaves_is_told_nothing_more(server, acme):
    with listening(server, environment(acme), cookie=cookie_of(factories.bob())) as stream:
        Membership.objects.filter(user=factories.bob()).delete()
        assert ends_unauthorized(stream)


def test_a_session_that_was_revoked_ends_the_stream(server, acme):
    browser = Client()
    browser.force_login(factories.bob())
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    with listening(server, environment(acme), cookie=cookie) as stream:
        browser.logout()
        assert ends_unauthorized(stream)


def test_a_public_token_that_runs_out_ends_the_stream(server, acme):
    with listening(server, secret=acme.secret):
        pass  # the process has imported what it needs before the time runs
    secret = token(acme, "read:runs", lifetime=timedelta(seconds=15))
    with listening(server, secret=secret) as stream:
        assert ends_unauthorized(stream)


def test_a_viewer_may_watch(server, acme):
    dora = factories.person("dora")
    factories.member(acme.organization, dora, Role.VIEWER)
    with listening(server, environment(acme), cookie=cookie_of(dora)) as stream:
        stream.change(run(acme), "triggered")


# -- How many ----------------------------------------------------------------------------------


def test_a_person_has_only_so_many_streams_and_gets_them_back(server, acme):
    cookie = cookie_of(factories.bob())
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(listening(server, environment(acme), cookie=cookie))
        with listening(server, environment(acme), cookie=cookie) as fourth:
            assert (fourth.status, fourth.headers["retry-after"]) == (429, "5")
    _until_open(server, environment(acme), cookie)


def _until_open(server, query, cookie):
    """The server notices that a client is gone when it has, not when the client says so."""
    for _ in range(3_000):
        with listening(server, query, cookie=cookie) as stream:
            if stream.status == 200:
                return
    raise AssertionError("the places were not given back")
