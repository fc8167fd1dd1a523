"""The admin: every list and form opens for the staff, cheaply, and no page shows a secret."""

import re
from collections import Counter, defaultdict

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import BinaryField, CompositePrimaryKey, Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.accounts.models import AuthorizationCode, PersonalToken, SignInLink, User
from apps.accounts.operations.links import one_time_link
from apps.accounts.operations.login import create_code
from apps.core import clock
from apps.core.ids import public_id
from apps.environments.models import EnvironmentKey, Variable
from apps.environments.operations.variables import set_variable
from apps.orgs.models import AuditEntry, Invite
from apps.orgs.operations.invites import invite_member
from apps.orgs.roles import Role
from apps.runs.models import (
    Batch,
    BatchItem,
    BulkAction,
    BulkItem,
    Input,
    JournalEntry,
    Run,
    RunTag,
    Timer,
    Wait,
)
from apps.runs.operations.duties import rescue
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from apps.schedules.models import Schedule, Tick
from tests.architecture.routes import every_route
from tests.browser.furnished import furnish
from tests.factories import (
    NOW,
    acme,
    alice,
    branch,
    globex,
    member,
    organization_as,
    person,
    personal_token,
)
from tests.runs.engine import Worker, trigger, version

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model.__module__.startswith("apps.")]
TENANCY = ["accounts", "orgs", "projects", "environments"]
SHOWN = [model for model in OURS if model._meta.app_label in TENANCY]

VALUES = re.compile(r"'[^']*'|\b\d+\b")
ON_THE_PAGE_OF: dict[type[Model], tuple[type[Model], str]] = {
    RunTag: (Run, "tag_rows"),
    JournalEntry: (Run, "journal"),
    Input: (Run, "inputs"),
    Timer: (Run, "timers"),
    Wait: (Run, "waits"),
    BatchItem: (Batch, "first_items"),
    BulkItem: (BulkAction, "newest_items"),
    Tick: (Schedule, "ticks"),
}


def names(models: list[type[Model]]) -> list[str]:
    return [model._meta.label_lower for model in models]


@pytest.fixture
def staff() -> Client:
    User.objects.create_superuser("root@example.com", "secret")
    client = Client()
    assert client.login(username="root@example.com", password="secret")
    return client


@pytest.fixture
def secrets() -> list[str]:
    """Everything that must not be shown, of a tenant that has some of all."""
    tenant = acme()
    branch(tenant)
    set_variable(tenant.scope, name="PASSWORD", value="hush-hush", is_secret=True, now=NOW)
    set_variable(tenant.scope, name="REGION", value="eu-plain-1", now=NOW)
    invite = invite_member(
        organization_as(tenant, alice()), email="dora@example.com", role="viewer", now=NOW
    )
    code = create_code(client="laptop", now=NOW).code
    return [
        *tenant.keys.values(),
        "hush-hush",
        "eu-plain-1",
        invite.token,
        code,
        one_time_link(alice(), now=NOW).rpartition("/")[2],
        personal_token(alice()),
        *binaries(),
    ]


def binaries() -> list[str]:
    """Every digest and sealed value, as it would look on a page."""
    rows: list[Model] = []
    for model in (EnvironmentKey, Variable, Invite, PersonalToken, AuthorizationCode, SignInLink):
        rows += model.objects.all()
    values = [
        bytes(getattr(row, field.name))
        for row in rows
        for field in row._meta.fields
        if isinstance(field, BinaryField) and getattr(row, field.name)
    ]
    return [text for value in values for text in (value.hex(), repr(value)[2:-1])]


def page(client: Client, model: type[Model], view: str, *args: object) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}"
    response = client.get(reverse(name, args=args))
    assert response.status_code == 200, name
    return response.content.decode()


@pytest.mark.parametrize("model", SHOWN, ids=names(SHOWN))
def test_every_list_and_form_opens_and_shows_no_secret(model, staff, secrets):
    html = page(staff, model, "changelist")
    row = model._default_manager.first()
    assert row is not None, f"make one in the fixture, so that its form is seen: {model}"
    html += page(staff, model, "change", row.pk)
    shown = [secret for secret in secrets if secret in html]
    assert shown == []


@pytest.mark.parametrize("model", OURS, ids=names(OURS))
def test_every_list_can_be_searched_and_filtered(model, staff):
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    assert admin.site._registry[model].list_filter or model._meta.app_label not in TENANCY
    assert staff.get(reverse(name), {"q": "acme"}).status_code == 200


@pytest.mark.parametrize("model", SHOWN, ids=names(SHOWN))
def test_a_list_costs_as_much_for_many_rows_as_for_few(model, staff, secrets):
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    staff.get(reverse(name))
    with CaptureQueriesContext(
        connection,
    ) as few:
        staff.get(reverse(name))
    tenant = globex()
    for number in range(3):
        branch(tenant, f"b{number}")
        set_variable(tenant.scope, name=f"V{number}", value="", now=NOW)
        personal_token(tenant.owner)
        create_code(now=NOW)
    with CaptureQueriesContext(connection) as many:
        staff.get(reverse(name))
    assert len(many) == len(few)


@pytest.mark.parametrize(
    "model", [AuditEntry, EnvironmentKey, Variable, Invite, PersonalToken, AuthorizationCode]
)
def test_what_only_operations_write_cannot_be_written_here(model, staff, secrets):
    row = model.objects.first()
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    assert staff.get(reverse(f"{base}_add")).status_code == 403
    assert staff.post(reverse(f"{base}_change", args=[row.pk]), {}).status_code == 403
    assert staff.post(reverse(f"{base}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


def test_a_person_is_made_by_address(staff):
    answer = staff.post(
        reverse("admin:accounts_user_add"),
        {
            "email": "Dora@Example.com",
            "name": "Dora",
            "usable_password": "true",
            "password1": "a long enough secret",
            "password2": "a long enough secret",
        },
    )
    assert answer.status_code == 302, answer.context["errors"]
    assert staff.login(username="dora@example.com", password="a long enough secret")
    assert User.objects.filter(email="dora@example.com").exists()


def test_a_person_is_made_inactive_but_not_deleted(staff):
    person_ = alice()
    url = reverse("admin:accounts_user_delete", args=[person_.pk])
    assert staff.post(url, {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=person_.pk).exists()


def test_limits_of_an_environment_can_be_changed(staff):
    environment = acme().production
    staff.post(
        reverse("admin:environments_environment_change", args=[environment.pk]),
        {"concurrency_limit": "7", "burst_factor": "2", "weight": "3"},
    )
    environment.refresh_from_db()
    assert (environment.concurrency_limit, environment.burst_factor) == (7, 2.0)
    assert environment.weight == 3.0
    entry = AuditEntry.objects.get(action="environment.changed_by_staff")
    assert entry.detail == {"concurrency_limit": 7, "burst_factor": 2.0, "weight": 3.0}
    assert entry.actor_id == User.objects.get(email="root@example.com").id


def test_the_limit_and_the_weight_of_an_organization_can_be_changed(staff):
    organization = acme().organization
    url = reverse("admin:orgs_organization_change", args=[organization.pk])
    members = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    fields = {"name": organization.name, "slug": organization.slug, "concurrency_limit": "50"}
    for weight in ("0", "1001", "nan", "many"):
        assert staff.post(url, fields | members | {"weight": weight}).status_code == 200
    assert staff.post(url, fields | members | {"weight": "2.5"}).status_code == 302
    organization.refresh_from_db()
    assert (organization.concurrency_limit, organization.weight) == (50, 2.5)
    entry = AuditEntry.objects.get(action="organization.changed_by_staff")
    assert entry.detail == {"concurrency_limit": 50, "weight": 2.5}


def test_members_of_an_organization_are_shown_without_a_query_each(staff):
    organization = acme().organization
    url = reverse("admin:orgs_organization_change", args=[organization.pk])
    staff.get(url)
    with CaptureQueriesContext(connection) as few:
        staff.get(url)
    for name in ("dora", "erin", "frank"):
        member(organization, person(name), Role.VIEWER)
    with CaptureQueriesContext(connection) as many:
        staff.get(url)
    assert len(many) == len(few)


def test_a_token_can_be_revoked(staff):
    personal_token(alice())
    token = PersonalToken.objects.get()
    staff.post(
        reverse("admin:accounts_personaltoken_changelist"),
        {"action": "revoke", "_selected_action": [str(token.pk)]},
    )
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_the_main_key_of_an_environment_can_be_replaced(staff):
    environment = acme().production
    url = reverse("admin:environments_environment_changelist")
    before = EnvironmentKey.objects.current().get(environment=environment)
    staff.post(url, {"action": "replace_key", "_selected_action": [str(environment.pk)]})
    after = EnvironmentKey.objects.current().get(environment=environment)
    assert after.pk != before.pk
    entry = AuditEntry.objects.get(action="key.regenerated")
    assert entry.actor_id == User.objects.get(email="root@example.com").id


def test_runs_can_be_found_canceled_and_replayed(staff):
    run_id = trigger_run(acme().scope, request=TriggerRequest(task="resize"), now=NOW).run_id
    url = reverse("admin:runs_run_changelist")
    for text in (public_id("run", run_id), "resize"):
        assert public_id("run", run_id) in staff.get(url, {"q": text}).content.decode()
    assert public_id("run", run_id) not in staff.get(url, {"q": "other"}).content.decode()
    staff.post(url, {"action": "cancel", "_selected_action": [str(run_id)]})
    assert Run.objects.get().status == "CANCELED"
    staff.post(url, {"action": "replay", "_selected_action": [str(run_id)]})
    assert Run.objects.filter(replay_of_id=run_id).count() == 1


def test_what_customers_sent_is_not_shown(staff):
    request = TriggerRequest(task="resize", payload='"of the customer"')
    run_id = trigger_run(acme().scope, request=request, now=NOW).run_id
    html = staff.get(reverse("admin:runs_run_change", args=[run_id])).content.decode()
    assert "resize" in html
    assert "of the customer" not in html


def test_a_list_of_runs_costs_as_much_for_many_as_for_few(staff):
    url = reverse("admin:runs_run_changelist")
    trigger_run(acme().scope, request=TriggerRequest(task="a"), now=NOW)
    staff.get(url)
    with CaptureQueriesContext(connection) as few:
        staff.get(url)
    for _ in range(3):
        trigger_run(globex().scope, request=TriggerRequest(task="b"), now=NOW)
    with CaptureQueriesContext(connection) as many:
        staff.get(url)
    assert len(many) == len(few)


def test_every_model_has_a_page_or_is_on_that_of_what_it_belongs_to():
    """Django registers no model whose key is composite; such rows are a table on another page."""
    ours = {model for model in apps.get_models() if model.__module__.startswith("apps.")}
    without = {model for model in ours if isinstance(model._meta.pk, CompositePrimaryKey)}
    assert ours - without == set(OURS)
    assert without == set(ON_THE_PAGE_OF)
    for model, (parent, field) in ON_THE_PAGE_OF.items():
        assert field in admin.site._registry[parent].readonly_fields, model


def test_every_list_of_the_engine_opens_and_asks_nothing_for_each_row(staff):
    """One look at all of them, with a few rows of each: none repeats a statement for its rows."""
    furnish()
    repeated, shown = {}, 0
    for model in OURS:
        if model in SHOWN:
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        with CaptureQueriesContext(connection) as queries:
            html = staff.get(reverse(name)).content.decode()
        shown += html.count('class="action-select"') or html.count("field-__str__")
        asked = Counter(VALUES.sub("?", query["sql"]) for query in queries)
        if max(asked.values()) > 2:
            repeated[name] = asked.most_common(1)
        if (row := model._default_manager.first()) is not None:
            page(staff, model, "change", row.pk)
    assert repeated == {}
    assert shown > 10, "without rows this would show nothing"


def test_a_run_of_a_lost_worker_is_requeued(staff):
    tenant = acme()
    worker = Worker(version(tenant.production, "hello"))
    run_id = trigger(tenant.scope, now=NOW)
    worker.claim(now=NOW)
    url = reverse("admin:runs_run_changelist")
    chosen = {"action": "requeue", "_selected_action": [str(run_id)]}
    answer = staff.post(url, chosen, follow=True)
    assert "1 runs were put back" in answer.content.decode()
    assert rescue(clock.now()) == 1
    assert Run.objects.get(pk=run_id).status == "QUEUED"
    again = staff.post(url, chosen, follow=True).content.decode()
    assert "no worker has this run" in again
    assert AuditEntry.objects.filter(action="run.requeued").count() == 1


def test_every_page_sends_strangers_to_the_login():
    samples = defaultdict(lambda: "x", content_type_id="1")
    pages = ("login", "logout")
    open_to_anybody = {f"{verb} /admin/{page}/" for verb in ("GET", "POST") for page in pages}
    let_in = set()
    for route in every_route():
        if not route.template.startswith("admin/"):
            continue
        answer = Client().generic(route.method.upper(), route.path(samples))
        if not answer.headers.get("Location", "").startswith("/admin/login/"):
            let_in.add(f"{route}: {answer.status_code}")
    assert {text.partition(":")[0] for text in let_in} - open_to_anybody == set(), let_in


@pytest.mark.parametrize("password", ["correct horse", "wrong"])
def test_who_is_not_staff_is_asked_to_sign_in(password):
    alice()
    client = Client()
    client.login(username="alice@example.com", password=password)
    answer = client.get(reverse("admin:index"))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")
