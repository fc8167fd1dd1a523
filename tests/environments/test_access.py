"""From a person and the names in a path to a Scope."""

import pytest

from apps.core.errors import Forbidden, NotFound
from apps.environments.access import scope_for_user
from apps.environments.operations.life import archive_branch
from apps.orgs.roles import Role
from apps.projects.operations import archive_project
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    branch,
    charlie,
    key_scope,
    member,
    organization_as,
    person,
)

pytestmark = pytest.mark.django_db


def test_a_member_gets_into_every_standard_environment():
    tenant = acme()
    for slug, environment in {
        "prod": tenant.production,
        "staging": tenant.staging,
        "preview": tenant.preview,
    }.items():
        scope = scope_for_user(bob(), tenant.project.ref, slug, now=NOW)
        assert scope.environment_id == environment.id
        assert (scope.actor.kind, scope.actor.id) == ("user", bob().id)
        assert scope.actor.role is Role.DEVELOPER


def test_dev_is_ones_own():
    tenant = acme()
    hers = scope_for_user(alice(), tenant.project.ref, "dev", now=NOW)
    his = scope_for_user(bob(), tenant.project.ref, "dev", now=NOW)
    assert hers.environment_id == tenant.development.id
    assert his.environment_id != hers.environment_id
    assert scope_for_user(bob(), tenant.project.ref, "dev", now=NOW) == his


def test_charlie_gets_into_nothing_of_alice():
    tenant = acme()
    branch(tenant, "cart")
    for slug in ("prod", "staging", "preview", "dev"):
        with pytest.raises(NotFound):
            scope_for_user(charlie(), tenant.project.ref, slug, now=NOW)
    with pytest.raises(NotFound):
        scope_for_user(charlie(), tenant.project.ref, "preview", "cart", now=NOW)


@pytest.mark.parametrize("slug", ["", "production", "PROD", "moon", "\0", "🦊"])
def test_an_unknown_environment_is_not_found(slug):
    with pytest.raises(NotFound, match="dev, staging, prod or preview"):
        scope_for_user(alice(), acme().project.ref, slug, now=NOW)


def test_a_branch_is_found_by_name():
    tenant = acme()
    child = branch(tenant, "feature/cart")
    scope = scope_for_user(bob(), tenant.project.ref, "preview", "feature/cart", now=NOW)
    assert scope.environment_id == child.id


@pytest.mark.parametrize("name", ["other", "..", "\0", "x" * 300])
def test_an_unknown_preview_branch_is_not_found(name):
    tenant = acme()
    with pytest.raises(NotFound, match="no active preview branch"):
        scope_for_user(bob(), tenant.project.ref, "preview", name, now=NOW)


def test_an_archived_branch_is_not_found():
    tenant = acme()
    branch(tenant, "cart")
    archive_branch(key_scope(tenant.preview), branch="cart", now=NOW)
    with pytest.raises(NotFound):
        scope_for_user(bob(), tenant.project.ref, "preview", "cart", now=NOW)


@pytest.mark.parametrize("slug", ["prod", "staging", "dev"])
def test_other_environments_ignore_a_branch(slug):
    ref = acme().project.ref
    with_branch = scope_for_user(alice(), ref, slug, "main", now=NOW)
    assert with_branch == scope_for_user(alice(), ref, slug, now=NOW)


def test_an_archived_project_is_not_found():
    tenant = acme()
    archive_project(organization_as(tenant, alice()), project_id=tenant.project.id, now=NOW)
    with pytest.raises(NotFound):
        scope_for_user(alice(), tenant.project.ref, "prod", now=NOW)


def test_a_viewer_looks_at_production_but_has_no_dev():
    tenant, dora = acme(), person("dora")
    member(tenant.organization, dora, Role.VIEWER)
    assert scope_for_user(dora, tenant.project.ref, "prod", now=NOW).actor.role is Role.VIEWER
    with pytest.raises(Forbidden):
        scope_for_user(dora, tenant.project.ref, "dev", now=NOW)
