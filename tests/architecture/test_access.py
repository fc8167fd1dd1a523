"""Every route and every socket, visited by everybody who must not get in.

The routes come from the URL conf, so a new one is visited as soon as it exists. If it has a
parameter of a new name, `samples` must learn of something of alice's that has that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.db import models, transaction
from django.test import Client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from apps.accounts.models import PersonalToken
from apps.accounts.operations.tokens import create_token
from apps.core import clock
from apps.core.ids import public_id
from apps.deployments.operations.shipping import create_deployment
from apps.deployments.operations.versions import promote_version, register_version
from apps.deployments.queries import list_queues
from apps.environments import credentials
from apps.environments.access import scope_for_user
from apps.environments.models import EnvironmentKey
from apps.environments.operations.keys import create_key, regenerate_key
from apps.environments.operations.variables import set_variable
from apps.orgs.operations.invites import invite_member
from apps.orgs.roles import Role
from apps.runs.operations.batch import create_batch
from apps.runs.operations.bulk import create_bulk_action
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from apps.runs.operations.waitpoints import create_token as create_waitpoint
from apps.runs.queries import RunFilters
from apps.runs.states import BulkKind
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from config.asgi import application
from tests.architecture.routes import PAGES, Route, every_route
from tests.factories import (
    Tenant,
    acme,
    alice,
    bob,
    branch,
    charlie,
    globex,
    member,
    person,
    personal_token,
    user_scope,
)
from tests.live import LiveServer

ROUTES = every_route(outside=("admin/", *PAGES))

# What anybody may call, and why that is safe; whoever adds a route here should think twice.
OPEN = {
    "GET /",  # leads to the sign-in
    "POST /",
    "POST /api/v1/authorization-code",  # begins a login, says nothing
    "POST /api/v1/token",  # has its credential in the body
    "GET /api/v1/blobs/%(signature)s",  # has its credential in the path
    "PUT /api/v1/blobs/%(signature)s",
    "POST /api/v1/waitpoints/tokens/%(token)s/callback/%(secret)s",
    "GET /api/v1/timezones",
    "GET /api/schema",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
}
LEAVING = "DELETE /api/v1/orgs/%(organization)s/membership"
# What everybody may change: only themselves, and what they found.
OF_ONESELF = {
    LEAVING,
    "PATCH /api/v1/account",
    "POST /api/v1/account/tokens",
    "DELETE /api/v1/account/tokens/%(personal_token)s",
    "DELETE /api/v1/account/sessions",
    "DELETE /api/v1/account/sessions/%(session)s",
    "POST /api/v1/invites/accept",
    "POST /api/v1/orgs",
}
# What only people reach, by their own tokens; keys are told that they are not taken.
OF_PEOPLE = {"ref", "organization", "personal_token", "session"}
# Parameters that name a thing of alice's; the others only name something of the caller's own.
OWNED = OF_PEOPLE | {"run", "schedule", "bulk", "batch", "deployment", "version", "token"}
# What a path says of the environment; other keys of the project get in without it.
OF_ENVIRONMENT = {"run", "schedule", "bulk", "batch", "deployment", "version", "env", "token"}

# What the rightful caller would send; a list is a line for each.
BODIES: dict[str, dict[str, Any] | list[dict[str, Any]]] = {
    "POST /api/v1/tasks/%(task)s/trigger": {"payload": {"of": "caller"}},
    "POST /api/v1/triggers": {"calls": [{"task": "resize", "payload": {"of": "caller"}}]},
    "POST /api/v2/tasks/batch": {"items": [{"task": "resize", "payload": {}}]},
    "POST /api/v1/tasks/batch": {"items": [{"task": "resize", "payload": {}}]},
    "POST /api/v1/tasks/%(task)s/batch": {"items": [{"payload": {}}]},
    "POST /api/v1/bulk-actions": {"action": "cancel", "filter": {"status": "DELAYED"}},
    "POST /api/v3/batches": {"runCount": 1},
    "POST /api/v3/batches/%(batch)s/items": [{"index": 0, "task": "resize", "payload": "{}"}],
    "POST /api/v1/runs/%(run)s/reschedule": {"delay": "1h"},
    "POST /api/v1/runs/%(run)s/fork": {"from": "1"},
    "POST /api/v1/runs/%(run)s/tags": {"tags": ["mine"]},
    "PUT /api/v1/runs/%(run)s/metadata": {"metadata": {"mine": True}},
    "POST /api/v1/idempotencyKeys/%(key)s/reset": {"taskIdentifier": "resize"},
    "POST /realtime/v1/streams/%(run)s/input/%(key)s": {"data": "mine"},
    "POST /api/v1/runs/%(run)s/input-streams/wait": {"streamId": "approval"},
    "POST /engine/v1/runs/%(run)s/wait/duration": {"date": "2031-01-01T00:00:00Z"},
    "POST /api/v1/schedules": {"task": "resize", "every": 60, "deduplicationKey": "mine"},
    "PUT /api/v1/schedules/%(schedule)s": {"task": "resize", "every": 60},
    "POST /api/v1/schedules/%(schedule)s/backfill": {
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-11-01T05:00:00Z",
    },
    "POST /api/v1/queues/%(queue)s/pause": {"action": "pause"},
    "POST /api/v1/queues/%(queue)s/concurrency/override": {"concurrencyLimit": 1},
    "POST /api/v1/concurrency-limits/%(limit)s/override": {"total": 1},
    "POST /api/v1/concurrency-limits/%(limit)s/pause": {"action": "resume"},
    "POST /api/v1/deployments": {"contentHash": "abc"},
    "POST /api/v1/deployments/%(deployment)s/finalize": {"promote": True},
    "POST /api/v1/projects/%(ref)s/background-workers": {
        "metadata": {"contentHash": "abc", "tasks": []},
        "localOnly": True,
    },
    "POST /api/v1/projects/%(ref)s/envvars/%(env)s": {"name": "MINE", "value": "1"},
    "POST /api/v1/projects/%(ref)s/envvars/%(env)s/import": {"variables": {"MINE": "1"}},
    "PUT /api/v1/projects/%(ref)s/envvars/%(env)s/%(name)s": {"value": "mine"},
    "POST /api/v1/projects/%(ref)s/%(env)s/jwt": {"claims": {"scopes": ["read:runs"]}},
    "PUT /api/v1/projects/%(ref)s/%(env)s/limits": {"concurrencyLimit": 7, "weight": 2},
    "POST /api/v1/projects/%(ref)s/%(env)s/api-keys": {"name": "mine"},
    "POST /api/v1/projects/%(ref)s/branches": {"branch": "mine"},
    "POST /api/v1/projects/%(ref)s/branches/archive": {"branch": "feature/cart"},
    "PATCH /api/v1/projects/%(ref)s": {"name": "Mine"},
    "POST /api/v1/orgs": {"title": "Mine"},
    "PATCH /api/v1/orgs/%(organization)s": {"title": "Mine"},
    "POST /api/v1/orgs/%(organization)s/projects": {"name": "Mine"},
    "PATCH /api/v1/orgs/%(organization)s/members/%(user)s": {"role": "viewer"},
    "POST /api/v1/orgs/%(organization)s/invites": {"email": "erin@example.com"},
    "POST /api/v1/invites/accept": {"token": "tr_invite_forged"},
    "PATCH /api/v1/account": {"name": "Mine"},
    "POST /api/v1/account/tokens": {"name": "mine"},
}

pytestmark = pytest.mark.django_db


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What alice has, and how it would show on a page that tells too much."""

    tenant: Tenant
    samples: dict[str, str]
    marks: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a visit got."""

    route: Route
    path: str
    status: int
    text: str

    def leaks(self, home: Home) -> list[str]:
        """What of alice's it shows beyond what the visitor said."""
        return [mark for mark in home.marks if mark in self.text and mark not in self.path]


@pytest.fixture
def home() -> Home:
    """Production of Acme with a version, a run, a batch, a deployment and variables."""
    credentials.forget()
    tenant, now = acme(), clock.now()
    task = {"id": "resize", "filePath": "tasks/images.py", "entryPoint": "resize"}
    manifest = {"contentHash": "acme-hash", "tasks": [task]}
    number = register_version(tenant.scope, manifest=manifest, now=now).number
    promote_version(tenant.scope, number=number, now=now)
    request = TriggerRequest(
        task="resize", payload='"acme-payload"', tags=("acme-tag",), delay_until=now + timedelta(1)
    )
    run = public_id("run", trigger_run(tenant.scope, request=request, now=now).run_id)
    batch = public_id("batch", create_batch(tenant.scope, run_count=1, now=now).batch_id)
    token = create_waitpoint(tenant.scope, tags=("acme-tag",), now=now).waitpoint_id
    deployment = create_deployment(tenant.scope, content_hash="acme-hash", now=now)
    set_variable(tenant.scope, name="PASSWORD", value="acme-hush", is_secret=True, now=now)
    set_variable(tenant.scope, name="REGION", value="acme-region", now=now)
    asked = ScheduleRequest(task="resize", cron="0 * * * *", external_id="acme-customer")
    schedule = create_schedule(tenant.scope, request=asked, deduplication_key="acme-key", now=now)
    chosen = RunFilters(tasks=("acme-nothing",))
    bulk = create_bulk_action(tenant.scope, kind=BulkKind.CANCEL, filters=chosen, now=now)
    owner = user_scope(tenant.production, alice(), Role.OWNER)
    named = create_key(owner, name="ci", now=now)
    laptop = create_token(alice(), name="laptop", now=now)
    browser = UserSession.objects.create(
        user=alice(), ip="127.0.0.1", user_agent="acme-browser", session_key="acme-session"
    )
    branch(tenant)
    invited = invite_member(owner.organization, email="d@example.com", role="viewer", now=now)
    samples = {
        "run": run,
        "schedule": public_id("sched", schedule.pk),
        "bulk": public_id("bulk", bulk.pk),
        "action": public_id("bulk", bulk.pk),
        "batch": batch,
        "token": public_id("waitpoint", token),
        "secret": "forged",
        "deployment": public_id("deployment", deployment.id),
        "version": number,
        "ref": tenant.project.ref,
        "env": "prod",
        "name": "PASSWORD",
        "task": "resize",
        "key": "packet.json",
        "signature": "forged",
        "part": "payload",
        "span": "0123456789abcdef",
        "limit": list_queues(tenant.scope)[0].name,
        "queue": public_id("queue", list_queues(tenant.scope)[0].id),
        "user": bob().public_id,
        "invite": public_id("invite", invited.invite_id),
        "named_key": public_id("key", named.key_id),
        "api_key": public_id("key", named.key_id),
        "organization": tenant.organization.slug,
        "personal_token": public_id("token", laptop.token_id),
        "session": str(browser.pk),
    }
    environment = public_id("env", tenant.production.id)
    owned = [
        samples[name] for name in ("run", "schedule", "bulk", "batch", "deployment", "ref", "token")
    ]
    told = [
        "acme-customer",
        "acme-key",
        "acme-payload",
        "acme-tag",
        "acme-hush",
        "acme-region",
        "acme-hash",
        "acme-browser",
        environment,
    ]
    return Home(tenant=tenant, samples=samples, marks=[*owned, *told, *tenant.keys.values()])


def bearer(token: str) -> str:
    return f"Bearer {token}"


def visit(
    route: Route, home: Home, authorization: str | None, *, within: str = "", **changed: str
) -> Answer:
    """Send one request, with a body that the rightful caller could send.

    It may say that its person is `within` an environment of alice's project.
    """
    path = route.path(home.samples | changed)
    headers = {"authorization": authorization} if authorization is not None else {}
    if within:
        headers |= {"x-holdfast-project": home.samples["ref"], "x-holdfast-environment": within}
    body = BODIES.get(str(route), {})
    response = Client(raise_request_exception=False).generic(
        route.method.upper(),
        path,
        "".join(f"{json.dumps(line)}\n" for line in body)
        if isinstance(body, list)
        else json.dumps(body),
        content_type=f"application/{'x-ndjson' if isinstance(body, list) else 'json'}",
        headers=headers,
    )
    text = response.getvalue().decode(errors="replace")
    return Answer(route=route, path=path, status=response.status_code, text=text)


def visits(
    home: Home, authorization: str | None, *, but: str = "", **changed: str
) -> Iterator[Answer]:
    """Send a request to every route that is not open to anybody, but to one."""
    for route in ROUTES:
        if str(route) not in OPEN | {but}:
            yield visit(route, home, authorization, **changed)


def belongings(tenant: Tenant) -> dict[str, list[str]]:
    """Every row of every table that says whose it is, for one organization."""
    environments = models.Q(environment_id__in=[e.id for e in tenant.project.environments.all()])
    organization = models.Q(organization_id=tenant.organization.id)
    found = {}
    for model in apps.get_models():
        columns = {field.attname for field in model._meta.concrete_fields}
        for column, mine in (("organization_id", organization), ("environment_id", environments)):
            if model.__module__.startswith("apps.") and column in columns:
                rows = model._default_manager.filter(mine)
                found[f"{model._meta.label}.{column}"] = sorted(str(row) for row in rows.values())
    return found


def problems(answers: Iterator[Answer], home: Home, *allowed: int) -> list[str]:
    """The visits that got something else than one of the allowed refusals, or a leak."""
    return [
        f"{answer.route}: {answer.status} {answer.leaks(home)} {answer.text[:200]}"
        for answer in answers
        if answer.status not in allowed or answer.leaks(home)
    ]


def test_routes_were_found():
    assert len(ROUTES) > 40
    assert {str(route) for route in ROUTES} >= OPEN | set(BODIES)


def test_alice_herself_gets_in(home):
    """Without this, a wrong sample would make every other test here pass."""
    key, person_ = bearer(home.tenant.secret), bearer(personal_token(alice()))
    missed = []
    for route in ROUTES:
        if str(route) in OPEN or not route.parameters & OWNED:
            continue
        statuses = {rolled_back(route, home, token).status for token in (key, person_)}
        if statuses <= {401, 403, 404, 405, 415}:
            missed.append(str(route))
    # These exist, but not of a run whose payload is small, or that has not run.
    assert set(missed) <= {
        "GET /api/v1/runs/%(run)s/packets/%(part)s",
        "GET /api/v1/runs/%(run)s/result",
        "GET /api/v1/runs/%(run)s/spans/%(span)s",
    }


def rolled_back(route: Route, home: Home, authorization: str, *, within: str = "") -> Answer:
    """A visit whose effects are undone."""
    with transaction.atomic():
        answer = visit(route, home, authorization, within=within)
        transaction.set_rollback(True)
    credentials.forget()
    return answer


# What only a program asks, with the key: telemetry, what runs ask from inside, and secrets.
FOR_PROGRAMS = {
    "POST /otel/v1/logs",
    "POST /otel/v1/metrics",
    "POST /otel/v1/traces",
    "POST /engine/v1/runs/%(run)s/wait/duration",
    "POST /engine/v1/runs/%(run)s/waitpoints/tokens/%(token)s/wait",
    "POST /api/v1/runs/%(run)s/input-streams/wait",
    "POST /api/v1/triggers",
    "POST /api/v1/projects/%(ref)s/background-workers",
    "GET /api/v1/projects/%(ref)s/envvars",
    "POST /api/v1/auth/jwt",
    "POST /api/v1/auth/jwt/claims",
}


def test_a_person_may_do_in_an_environment_what_its_key_may(home):
    key, person_ = bearer(home.tenant.secret), bearer(personal_token(alice()))
    refused, different = set(), []
    for route in ROUTES:
        if str(route) in OPEN:
            continue
        by_key = rolled_back(route, home, key).status
        by_person = rolled_back(route, home, person_, within="prod").status
        if by_person == 401:
            refused.add(str(route))
        elif by_key < 400 and by_person != by_key:
            different.append(f"{route}: {by_key} {by_person}")
    assert different == []
    assert refused == FOR_PROGRAMS


def test_charlie_is_not_let_into_an_environment_of_alice(home):
    before = belongings(home.tenant)
    answers = list(visits(home, bearer(personal_token(charlie())), within="prod"))
    assert [str(answer.route) for answer in answers if answer.status != 404] == []
    assert belongings(home.tenant) == before


def test_a_stranger_gets_in_nowhere(home):
    before = belongings(home.tenant)
    assert problems(visits(home, None), home, 401, 404) == []
    assert belongings(home.tenant) == before


def test_only_unknown_paths_are_not_found_for_a_stranger(home):
    missing = {str(a.route) for a in visits(home, None) if a.status == 404}
    assert missing <= {"GET /api/"}


MALFORMED = [
    "Bearer",
    "Bearer ",
    "Basic YWxpY2U6c2VjcmV0",
    "Bearer tr_prod_000000000000000000000000",
    "Bearer tr_moon_000000000000000000000000",
    "Bearer tr_pat_00000000000000000000000000000000",
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Bearer a.b.c",
    "Bearer " + "x" * 20_000,
    "Bearer é",
    "tr_prod_x",
]


@pytest.mark.parametrize("authorization", MALFORMED, ids=[token[:30] for token in MALFORMED])
def test_a_malformed_token_gets_in_nowhere(home, authorization):
    assert problems(visits(home, authorization), home, 401, 404) == []


def public_token(environment: Any, secret: str, expires: datetime, **more: Any) -> str:
    claims = {
        "sub": public_id("env", environment.id),
        "pub": True,
        "scopes": ["admin", "read:all", "write:all", "trigger:tasks"],
        "iss": "https://id.trigger.dev",
        "aud": "https://api.trigger.dev",
        "exp": expires,
        **more,
    }
    return jwt.encode(claims, secret.encode().ljust(32, b"\0"), algorithm="HS256")


def expired_credentials(home: Home) -> dict[str, str]:
    now, tenant = clock.now(), home.tenant
    old = create_token(alice(), name="old", now=now)
    revoked = create_token(alice(), name="revoked", now=now)
    PersonalToken.objects.filter(pk=old.token_id).update(
        created_at=now - timedelta(2), expires_at=now
    )
    PersonalToken.objects.filter(pk=revoked.token_id).update(revoked_at=now)
    scope = scope_for_user(alice(), tenant.project.ref, "prod", now=now)
    regenerate_key(scope, now=now - timedelta(hours=25))
    EnvironmentKey.objects.filter(environment=tenant.staging).update(revoked_at=now)
    credentials.forget()
    fresh = credentials.signing_keys(tenant.production.id, now=now)[0]
    soon = now + timedelta(hours=1)
    return {
        "an expired personal token": old.secret,
        "a revoked personal token": revoked.secret,
        "a key after its grace": tenant.secret,
        "a revoked key": tenant.keys["staging"],
        "an expired public token": public_token(tenant.production, fresh, now - timedelta(1)),
        "one signed with a key after its grace": public_token(
            tenant.production, tenant.secret, soon
        ),
        "one that charlie signed": public_token(tenant.production, globex().secret, soon),
        "one that is not public": public_token(tenant.production, fresh, soon, pub=False),
        "one of another issuer": public_token(tenant.production, fresh, soon, iss="https://x.y"),
    }


def test_what_has_expired_gets_in_nowhere(home):
    for name, token in expired_credentials(home).items():
        before = belongings(home.tenant)
        assert problems(visits(home, bearer(token)), home, 401, 404) == [], name
        assert belongings(home.tenant) == before, name


def charlies_credentials() -> dict[str, str]:
    his, soon = globex(), clock.now() + timedelta(hours=1)
    return {
        "his key": his.secret,
        "his personal token": personal_token(charlie()),
        "a public token of his": public_token(his.production, his.secret, soon),
    }


@pytest.mark.parametrize("credential", ["his key", "his personal token", "a public token of his"])
def test_charlie_gets_nothing_of_alice(home, credential):
    token = bearer(charlies_credentials()[credential])
    before = belongings(home.tenant)
    wrong = [
        f"{answer.route}: {answer.status} {answer.leaks(home)} {answer.text[:200]}"
        for answer in visits(home, token)
        if answer.status >= 500
        or answer.leaks(home)
        or (answer.route.parameters & OWNED and answer.status not in (401, 403, 404))
    ]
    assert wrong == []
    assert belongings(home.tenant) == before


def test_charlies_own_key_is_answered_with_not_found(home):
    """Not 403: what is not yours does not exist."""
    told = [
        f"{answer.route}: {answer.status}"
        for answer in visits(home, bearer(globex().secret))
        if answer.route.parameters & (OWNED - OF_PEOPLE) and answer.status != 404
    ]
    assert told == []


def test_another_environments_key_gets_nothing_of_production(home):
    staging = home.tenant.keys["staging"]
    marks = [mark for mark in home.marks if mark not in (staging, home.samples["ref"])]
    quiet = Home(tenant=home.tenant, samples=home.samples, marks=marks)
    before = rows_of(home.tenant.production)
    wrong = [
        f"{answer.route}: {answer.status} {answer.leaks(quiet)} {answer.text[:200]}"
        for answer in visits(home, bearer(staging))
        if answer.status >= 500
        or answer.leaks(quiet)
        or (answer.route.parameters & OF_ENVIRONMENT and answer.status not in (401, 403, 404))
    ]
    assert wrong == []
    assert rows_of(home.tenant.production) == before


def rows_of(environment: Any) -> dict[str, list[str]]:
    """Every row that says it is of this environment."""
    found = {}
    for model in apps.get_models():
        columns = {field.attname for field in model._meta.concrete_fields}
        if model.__module__.startswith("apps.") and "environment_id" in columns:
            rows = model._default_manager.filter(environment_id=environment.id)
            found[model._meta.label] = sorted(str(row) for row in rows.values())
    return found


@pytest.mark.parametrize("within", ["", "prod"])
def test_a_viewer_changes_only_themselves_and_reads_no_key_or_variable(home, within):
    dora = person("dora")
    member(home.tenant.organization, dora, Role.VIEWER)
    token = bearer(personal_token(dora))
    before = belongings(home.tenant)
    hidden = Home(
        tenant=home.tenant,
        samples=home.samples,
        marks=["acme-hush", "acme-region", *home.tenant.keys.values()],
    )
    wrong = [
        f"{answer.route}: {answer.status} {answer.leaks(hidden)} {answer.text[:200]}"
        for answer in visits(home, token, but=LEAVING, within=within)
        if answer.status >= 500
        or answer.leaks(hidden)
        or (
            answer.route.method != "get"
            and answer.status not in (401, 403)
            and str(answer.route) not in OF_ONESELF
        )
    ]
    assert wrong == []
    assert belongings(home.tenant) == before


@pytest.mark.parametrize("env", ["dev", "moon", "prod%00", "%F0%9F%A6%8A", "preview"])
def test_a_viewer_gets_no_error_from_odd_environments(home, env):
    dora = person("dora")
    member(home.tenant.organization, dora, Role.VIEWER)
    token = bearer(personal_token(dora))
    answers = visits(home, token, env=env)
    assert [f"{a.route}: {a.status}" for a in answers if a.status >= 500] == []


ODD = ["%00", "%F0%9F%A6%8A", "run_" + "z" * 26, "..", "x" * 3_000, "'; --", "%ED%A0%80"]


@pytest.mark.parametrize("odd", ODD, ids=[text[:12] for text in ODD])
def test_odd_names_in_paths_are_refused_not_errors(home, odd):
    changed = dict.fromkeys(set(home.samples) - {"part"}, odd)
    for token in (home.tenant.secret, personal_token(alice())):
        answers = visits(home, bearer(token), **changed)
        assert [f"{a.route}: {a.status}" for a in answers if a.status >= 500] == []


def test_a_public_token_does_nothing_beyond_its_scopes(home):
    soon = clock.now() + timedelta(hours=1)
    production, secret = home.tenant.production, home.tenant.secret
    token = public_token(production, secret, soon, scopes=["read:runs:run_" + "0" * 26])
    before = belongings(home.tenant)
    wrong = [
        f"{answer.route}: {answer.status} {answer.leaks(home)} {answer.text[:200]}"
        for answer in visits(home, bearer(token))
        if answer.status >= 500
        or answer.leaks(home)
        or (answer.route.method != "get" and answer.status not in (401, 403, 404))
    ]
    assert wrong == []
    assert belongings(home.tenant) == before


def sockets() -> list[str]:
    """The path of every WebSocket of the ASGI application."""
    router: Any = application.application_mapping["websocket"]
    while not hasattr(router, "routes"):  # authentication and the like may be wrapped around it
        router = router.inner
    return [f"/{route.pattern}" for route in router.routes]


@pytest.mark.django_db(transaction=True)
def test_no_socket_opens_for_whoever_has_no_key(live_process: LiveServer):
    home_of_alice = acme()
    expired = create_token(alice(), name="x", now=clock.now()).secret
    EnvironmentKey.objects.filter(environment=home_of_alice.staging).update(revoked_at=clock.now())
    refused: dict[str, str | None] = {
        "stranger": None,
        "a person": bearer(expired),
        "a revoked key": bearer(home_of_alice.keys["staging"]),
        **{token[:30]: token for token in MALFORMED if token.isascii() and len(token) < 1_000},
    }
    paths = sockets()
    assert paths
    for path in paths:
        for name, authorization in refused.items():
            assert handshake(live_process, path, authorization) in (401, 403), (path, name)
        assert handshake(live_process, path, bearer(home_of_alice.secret)) == 101


def handshake(server: LiveServer, path: str, authorization: str | None) -> int:
    """The status that a WebSocket's upgrade is answered with."""
    headers = {"Authorization": authorization.strip()} if authorization is not None else {}
    address = server.path(path).replace("http://", "ws://", 1)
    try:
        with connect(address, additional_headers=headers, open_timeout=60):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code
