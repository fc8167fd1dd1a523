"""Environments come with a project or when asked for, branch, pause, and go."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from django.db import IntegrityError, connection

from apps.core.errors import Forbidden, Invalid, NotFound
from apps.environments import policy
from apps.environments.models import Environment
from apps.environments.operations.life import (
    archive_branch,
    ensure_development,
    pause_environment,
    resume_environment,
    start_project,
    upsert_branch,
)
from apps.environments.queries import get_environment, list_branches, list_environments
from apps.orgs.models import AuditEntry
from apps.orgs.roles import Role
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    branch,
    charlie,
    globex,
    key_scope,
    member,
    organization_as,
    person,
    secret_of,
    user_scope,
)

pytestmark = pytest.mark.django_db


def test_a_project_starts_with_three_environments_and_a_key_each():
    project = start_project(organization_as(acme(), alice()), name="New", now=NOW)
    made = list(project.environments.order_by("id"))
    assert [(e.type, e.slug) for e in made] == [
        ("production", "prod"),
        ("staging", "staging"),
        ("preview", "preview"),
    ]
    starts = [secret_of(environment).rpartition("_")[0] for environment in made]
    assert starts == ["tr_prod", "tr_stg", "tr_preview"]


def test_each_member_has_a_development_environment_of_their_own():
    tenant = acme()
    hers = ensure_development(
        organization_as(tenant, alice()), project_id=tenant.project.id, now=NOW
    )
    his = ensure_development(organization_as(tenant, bob()), project_id=tenant.project.id, now=NOW)
    assert (hers.owner, his.owner) == (alice(), bob())
    assert hers == tenant.development
    assert secret_of(his).startswith("tr_dev_")
    assert secret_of(his) != secret_of(hers)


@pytest.mark.django_db(transaction=True)
def test_two_first_requests_at_once_make_one_development_environment():
    tenant, barrier = acme(), Barrier(2)
    within = organization_as(tenant, bob())

    def ask(_: int) -> Environment:
        barrier.wait(60)
        try:
            return ensure_development(within, project_id=tenant.project.id, now=NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second


def test_a_viewer_gets_no_development_environment():
    tenant, dora = acme(), person("dora")
    member(tenant.organization, dora, Role.VIEWER)
    with pytest.raises(Forbidden):
        ensure_development(organization_as(tenant, dora), project_id=tenant.project.id, now=NOW)


def test_charlie_gets_no_development_environment_in_a_project_of_alice():
    tenant = acme()
    with pytest.raises(NotFound):
        ensure_development(
            organization_as(globex(), charlie()), project_id=tenant.project.id, now=NOW
        )


def test_a_key_has_no_development_environment():
    tenant = acme()
    with pytest.raises(NotFound, match="belongs to a person"):
        ensure_development(tenant.scope.organization, project_id=tenant.project.id, now=NOW)


def test_members_see_the_standard_environments_and_only_their_own_development():
    tenant = acme()
    ref = tenant.project.ref
    seen = list_environments(organization_as(tenant, bob()), project_ref=ref)
    assert [environment.slug for environment in seen] == ["prod", "staging", "preview"]
    seen = list_environments(organization_as(tenant, alice()), project_ref=ref)
    assert [environment.slug for environment in seen] == ["prod", "staging", "preview", "dev"]
    assert list_environments(organization_as(globex(), charlie()), project_ref=ref) == []


def test_a_branch_is_a_child_with_the_limits_of_its_parent():
    tenant = acme()
    Environment.objects.filter(pk=tenant.preview.pk).update(
        concurrency_limit=7, burst_factor=2, weight=3
    )
    child = branch(tenant, "feature/cart")
    assert (child.parent, child.branch) == (tenant.preview, "feature/cart")
    assert (child.slug, child.type) == ("preview", "preview")
    assert (child.concurrency_limit, child.burst_factor, child.weight) == (7, 2, 3)


def test_upserting_a_branch_again_finds_it():
    tenant = acme()
    assert branch(tenant, "feature/cart") == branch(tenant, "refs/heads/feature/cart")
    assert AuditEntry.objects.filter(action="branch.created").count() == 1


def test_a_development_environment_branches_too():
    tenant = acme()
    child = upsert_branch(key_scope(tenant.development), branch="try", now=NOW)
    assert (child.parent, child.owner) == (tenant.development, alice())


def test_production_and_branches_do_not_branch():
    tenant = acme()
    child = branch(tenant)
    for environment in (tenant.production, child):
        with pytest.raises(Invalid, match="Only preview and development"):
            upsert_branch(key_scope(environment), branch="more", now=NOW)


@pytest.mark.parametrize("name", ["", " ", "-x", "a..b", "a b", "a/", "a.lock", "\0", "x" * 201])
def test_a_branch_is_named_as_git_does(name):
    with pytest.raises(Invalid, match="named as git does"):
        branch(acme(), name)


def test_an_archived_branch_is_gone_and_its_name_is_free():
    tenant = acme()
    before = branch(tenant, "cart")
    archive_branch(key_scope(tenant.preview), branch="cart", now=NOW)
    assert list_branches(key_scope(tenant.preview)) == []
    with pytest.raises(NotFound):
        archive_branch(key_scope(tenant.preview), branch="cart", now=NOW)
    assert branch(tenant, "cart") != before


def test_active_branches_are_bounded(monkeypatch):
    monkeypatch.setattr(policy, "BRANCHES_PER_ENVIRONMENT", 1)
    tenant = acme()
    branch(tenant, "one")
    with pytest.raises(Invalid, match="archive some first"):
        branch(tenant, "two")


def test_charlie_cannot_archive_a_branch_of_alice():
    tenant, his = acme(), globex()
    branch(tenant, "cart")
    with pytest.raises(NotFound):
        archive_branch(key_scope(his.preview), branch="cart", now=NOW)
    assert [child.branch for child in list_branches(key_scope(tenant.preview))] == ["cart"]


def test_a_developer_pauses_and_resumes():
    tenant = acme()
    scope = user_scope(tenant.production, bob(), Role.DEVELOPER)
    assert pause_environment(scope, now=NOW).paused_at == NOW
    assert get_environment(scope).paused_at == NOW
    assert resume_environment(scope, now=NOW).paused_at is None
    actions = AuditEntry.objects.filter(action__startswith="environment.").order_by("id")
    assert [entry.action for entry in actions][-2:] == ["environment.paused", "environment.resumed"]


def test_pausing_or_resuming_twice_changes_nothing():
    scope = user_scope(acme().production, bob(), Role.DEVELOPER)
    pause_environment(scope, now=NOW)
    pause_environment(scope, now=NOW)
    resume_environment(scope, now=NOW)
    resume_environment(scope, now=NOW)
    assert AuditEntry.objects.filter(action="environment.paused").count() == 1
    assert AuditEntry.objects.filter(action="environment.resumed").count() == 1


def test_a_viewer_and_a_key_do_not_pause():
    tenant = acme()
    for scope in (user_scope(tenant.production, bob(), Role.VIEWER), tenant.scope):
        with pytest.raises(Forbidden):
            pause_environment(scope, now=NOW)


def test_a_scope_that_mixes_tenants_finds_nothing():
    mixed = replace(acme().scope, organization_id=globex().organization.id)
    with pytest.raises(NotFound):
        get_environment(mixed)
    with pytest.raises(NotFound):
        upsert_branch(mixed, branch="x", now=NOW)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"type": "moon"}, "environment_"),
        ({"burst_factor": 0.5}, "environment_burst_factor_is_at_least_one"),
        ({"weight": 0}, "environment_weight_is_in_bounds"),
        ({"weight": float("nan")}, "environment_weight_is_in_bounds"),
        ({"branch": "x"}, "environment_has_a_parent_iff_it_is_a_branch"),
        ({"type": "development"}, "environment_has_an_owner_iff_it_is_for_development"),
        ({"type": "staging"}, "environment_is_unique_per_type_in_its_project"),
    ],
)
def test_the_database_refuses_an_impossible_environment(changes, constraint):
    production = Environment.objects.filter(pk=acme().production.pk)
    with pytest.raises(IntegrityError, match=constraint):
        production.update(**changes)
