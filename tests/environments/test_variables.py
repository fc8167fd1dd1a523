"""Variables: sealed, redacted when secret, inherited by branches, refused when they cannot be."""

import pytest
from django.db import IntegrityError

from apps.core.errors import AlreadyExists, Forbidden, NotFound
from apps.environments import policy
from apps.environments.errors import VariablesInvalid
from apps.environments.models import Variable
from apps.environments.operations.variables import (
    create_variable,
    delete_variable,
    import_variables,
    set_variable,
)
from apps.environments.queries import get_variable, list_variables, runtime_variables
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests.factories import NOW, acme, bob, branch, globex, key_scope, user_scope

pytestmark = pytest.mark.django_db


def test_a_worker_gets_every_variable_in_clear():
    tenant = acme()
    set_variable(tenant.scope, name="REGION", value="eu", now=NOW)
    set_variable(tenant.scope, name="TOKEN", value="hush", is_secret=True, now=NOW)
    assert runtime_variables(tenant.production) == {"REGION": "eu", "TOKEN": "hush"}


def test_a_list_redacts_secrets():
    scope = acme().scope
    set_variable(scope, name="TOKEN", value="hush", is_secret=True, now=NOW)
    set_variable(scope, name="REGION", value="eu", now=NOW)
    listed = [(v.name, v.value, v.is_secret) for v in list_variables(scope)]
    assert listed == [("REGION", "eu", False), ("TOKEN", None, True)]
    assert get_variable(scope, "TOKEN").value is None


@pytest.mark.parametrize("is_secret", [True, False])
def test_no_value_is_kept_in_clear(is_secret):
    set_variable(acme().scope, name="A", value="a plain sight", is_secret=is_secret, now=NOW)
    assert b"a plain sight" not in bytes(Variable.objects.get().sealed)


def test_setting_again_counts_the_version():
    scope = acme().scope
    assert set_variable(scope, name="A", value="1", now=NOW).version == 1
    assert set_variable(scope, name="A", value="2", now=NOW).version == 2
    assert get_variable(scope, "A").value == "2"


def test_a_secret_stays_secret_until_it_is_deleted():
    scope = acme().scope
    set_variable(scope, name="A", value="1", is_secret=True, now=NOW)
    assert set_variable(scope, name="A", value="2", now=NOW).is_secret
    assert set_variable(scope, name="A", value="3", is_secret=False, now=NOW).is_secret
    delete_variable(scope, name="A", now=NOW)
    assert not set_variable(scope, name="A", value="4", now=NOW).is_secret


def test_a_plain_variable_can_become_secret():
    scope = acme().scope
    set_variable(scope, name="A", value="1", now=NOW)
    assert set_variable(scope, name="A", value="2", is_secret=True, now=NOW).is_secret


def test_creating_refuses_what_exists():
    scope = acme().scope
    create_variable(scope, name="A", value="1", now=NOW)
    with pytest.raises(AlreadyExists, match="update it"):
        create_variable(scope, name="A", value="2", now=NOW)


def test_an_import_keeps_what_exists_unless_told_to_override():
    scope = acme().scope
    set_variable(scope, name="A", value="old", now=NOW)
    new = {"A": "new", "B": "new"}
    assert import_variables(scope, variables=new, now=NOW) == ["B"]
    assert get_variable(scope, "A").value == "old"
    assert import_variables(scope, variables=new, override=True, now=NOW) == ["A", "B"]
    assert get_variable(scope, "A").value == "new"


def test_an_import_is_all_or_nothing():
    scope = acme().scope
    with pytest.raises(VariablesInvalid) as refused:
        import_variables(scope, variables={"GOOD": "1", "1BAD": "2", "OTEL_X": "3"}, now=NOW)
    assert set(refused.value.detail) == {"1BAD", "OTEL_X"}
    assert list_variables(scope) == []


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ä", "A\n", "\0", "A" * 256])
def test_an_impossible_name_is_refused(name):
    with pytest.raises(VariablesInvalid):
        set_variable(acme().scope, name=name, value="x", now=NOW)
    with pytest.raises(VariablesInvalid):
        create_variable(acme().scope, name=name, value="x", now=NOW)


@pytest.mark.parametrize("name", ["A", "_", "a1", "LOWER_case", "A" * 255, "TRIGGER_HAPPY"])
def test_a_possible_name_is_taken(name):
    set_variable(acme().scope, name=name, value="x", now=NOW)


@pytest.mark.parametrize(
    "name",
    [
        "HOLDFAST_API_URL",
        "holdfast_x",
        "OTEL_SERVICE_NAME",
        "TRIGGER_SECRET_KEY",
        "TRIGGER_API_URL",
    ],
)
def test_a_reserved_name_is_refused_and_says_why(name):
    with pytest.raises(VariablesInvalid, match=f"{name} is reserved: Holdfast sets it"):
        set_variable(acme().scope, name=name, value="x", now=NOW)


def test_a_value_is_bounded_and_the_bound_is_named():
    scope = acme().scope
    set_variable(scope, name="A", value="ä" * (32 * 1024), now=NOW)
    with pytest.raises(VariablesInvalid, match="larger than 64 KiB"):
        set_variable(scope, name="A", value="x" * (64 * 1024 + 1), now=NOW)


@pytest.mark.parametrize(("value", "why"), [("a\0b", "NUL"), ("\ud800", "not valid Unicode")])
def test_a_value_that_no_process_can_be_given_is_refused(value, why):
    with pytest.raises(VariablesInvalid, match=why):
        set_variable(acme().scope, name="A", value=value, now=NOW)


@pytest.mark.parametrize("value", ["", " ", "two\nlines", "🦊", "='\"$X"])
def test_any_other_value_comes_back_as_it_was(value):
    tenant = acme()
    set_variable(tenant.scope, name="A", value=value, now=NOW)
    assert runtime_variables(tenant.production) == {"A": value}


def test_the_number_is_bounded(monkeypatch):
    monkeypatch.setattr(policy, "VARIABLES_PER_ENVIRONMENT", 2)
    scope = acme().scope
    import_variables(scope, variables={"A": "", "B": ""}, now=NOW)
    set_variable(scope, name="A", value="still", now=NOW)
    with pytest.raises(VariablesInvalid, match="may have 2 variables"):
        set_variable(scope, name="C", value="", now=NOW)


def test_a_branch_has_its_parents_variables_and_its_own_win():
    tenant = acme()
    child = branch(tenant)
    import_variables(key_scope(tenant.preview), variables={"A": "parent", "B": "parent"}, now=NOW)
    set_variable(key_scope(child), name="B", value="branch", now=NOW)
    assert runtime_variables(child) == {"A": "parent", "B": "branch"}
    assert runtime_variables(tenant.preview) == {"A": "parent", "B": "parent"}
    assert runtime_variables(tenant.production) == {}


def test_what_is_not_there_is_not_found():
    scope = acme().scope
    for name in ("MISSING", "", "\0", "1A"):
        with pytest.raises(NotFound):
            get_variable(scope, name)
        with pytest.raises(NotFound):
            delete_variable(scope, name=name, now=NOW)


def test_charlie_neither_sees_nor_changes_variables_of_alice():
    tenant, his = acme(), globex()
    set_variable(tenant.scope, name="A", value="hers", now=NOW)
    assert list_variables(his.scope) == []
    with pytest.raises(NotFound):
        get_variable(his.scope, "A")
    with pytest.raises(NotFound):
        delete_variable(his.scope, name="A", now=NOW)
    set_variable(his.scope, name="A", value="his", now=NOW)
    assert runtime_variables(tenant.production) == {"A": "hers"}


def test_a_viewer_neither_reads_nor_writes():
    scope = user_scope(acme().production, bob(), Role.VIEWER)
    for attempt in (
        lambda: list_variables(scope),
        lambda: get_variable(scope, "A"),
        lambda: set_variable(scope, name="A", value="", now=NOW),
        lambda: delete_variable(scope, name="A", now=NOW),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_the_log_has_names_but_no_values():
    scope = acme().scope
    import_variables(scope, variables={"B": "hush", "A": "hush"}, now=NOW)
    delete_variable(scope, name="A", now=NOW)
    entries = AuditEntry.objects.filter(action__startswith="variables.").order_by("id")
    assert [(entry.action, entry.detail) for entry in entries] == [
        ("variables.set", {"names": ["A", "B"]}),
        ("variables.deleted", {"names": ["A"]}),
    ]


def test_a_name_is_unique_in_its_environment():
    set_variable(acme().scope, name="A", value="", now=NOW)
    with pytest.raises(IntegrityError, match="variable_name_is_unique_in_its_environment"):
        Variable.objects.create(
            environment=acme().production, name="A", sealed=b"", created_at=NOW, updated_at=NOW
        )
