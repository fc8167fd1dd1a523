"""The cast and what they own: alice and bob at Acme, charlie at Globex; plain functions.

Calling one twice in a test returns the same person or organization.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from apps.accounts.models import User
from apps.accounts.operations.tokens import create_token
from apps.environments.models import Environment, EnvironmentKey
from apps.environments.operations.life import ensure_development, start_project, upsert_branch
from apps.environments.queries import current_key, list_environments
from apps.environments.scope import Scope
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.models import Membership, Organization
from apps.orgs.operations.organizations import create_organization
from apps.orgs.queries import organization_scope
from apps.orgs.roles import Role
from apps.projects.models import Project

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organization with one project, its environments, and the secret key of each."""

    owner: User
    organization: Organization
    project: Project
    production: Environment
    staging: Environment
    preview: Environment
    development: Environment
    keys: dict[str, str]  # by the environment's slug

    @property
    def scope(self) -> Scope:
        """Production, as seen by its key."""
        return key_scope(self.production)

    @property
    def secret(self) -> str:
        """Production's key."""
        return self.keys["prod"]


def alice() -> User:
    """The owner of Acme."""
    return person("alice")


def bob() -> User:
    """A developer at Acme."""
    return person("bob")


def charlie() -> User:
    """The owner of Globex, who must never see anything of Acme."""
    return person("charlie")


def person(name: str) -> User:
    """Somebody, by first name."""
    email = f"{name}@example.com"
    found = User.objects.filter(email=email).first()
    return found or User.objects.create_user(email, "correct horse", name=name.capitalize())


def acme() -> Tenant:
    """Alice's organization, with bob as a developer."""
    tenant = organization("Acme", owner=alice())
    member(tenant.organization, bob(), Role.DEVELOPER)
    return tenant


def globex() -> Tenant:
    """Charlie's organization."""
    return organization("Globex", owner=charlie())


def alices_scope() -> Scope:
    """Acme's production, as seen by its key."""
    return acme().scope


def bobs_scope() -> Scope:
    """Acme's production, as seen by bob."""
    return user_scope(acme().production, bob(), Role.DEVELOPER)


def charlies_scope() -> Scope:
    """Globex's production, as seen by its key."""
    return globex().scope


def member(organization: Organization, user: User, role: Role) -> Membership:
    """Make somebody a member."""
    membership, _ = Membership.objects.get_or_create(
        organization=organization, user=user, defaults={"role": role, "created_at": NOW}
    )
    return membership


def key_scope(environment: Environment) -> Scope:
    """The environment as seen by its own key."""
    owner_of_key = environment.parent_id or environment.id
    key = EnvironmentKey.objects.current().get(environment=owner_of_key)
    return _scope(environment, Actor(kind="key", id=key.id))


def user_scope(environment: Environment, user: User, role: Role) -> Scope:
    """The environment as seen by a member."""
    return _scope(environment, Actor(kind="user", id=user.id, role=role))


def organization_as(tenant: Tenant, user: User) -> OrganizationScope:
    """A tenant's organization as seen by a member of it."""
    return organization_scope(user, tenant.organization.id)


def organization(name: str, *, owner: User) -> Tenant:
    """An organization with one project and the environments of its owner."""
    found = Organization.objects.filter(slug=name.lower()).first()
    made = found or create_organization(user_id=owner.id, name=name, now=NOW)
    within = organization_scope(owner, made.id)
    project = made.projects.first() or start_project(within, name=f"{name} shop", now=NOW)
    ensure_development(within, project_id=project.id, now=NOW)
    environments = {
        environment.slug: environment
        for environment in list_environments(within, project_ref=project.ref)
    }
    return Tenant(
        owner=owner,
        organization=made,
        project=project,
        production=environments["prod"],
        staging=environments["staging"],
        preview=environments["preview"],
        development=environments["dev"],
        keys={slug: secret_of(environment) for slug, environment in environments.items()},
    )


def secret_of(environment: Environment) -> str:
    """The current secret key of an environment."""
    return current_key(user_scope(environment, alice(), Role.OWNER))


def branch(tenant: Tenant, name: str = "feature/cart") -> Environment:
    """A preview branch of a tenant."""
    return upsert_branch(key_scope(tenant.preview), branch=name, now=NOW)


def personal_token(user: User) -> str:
    """A personal token that acts as somebody."""
    return create_token(user, name="laptop", now=NOW).secret


def _scope(environment: Environment, actor: Actor) -> Scope:
    return Scope(
        actor=actor,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
    )
