"""The cast and what they own: alice and bob at Acme, charlie at Globex; plain functions.

Calling one twice in a test returns the same person or organization.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from apps.accounts.models import User
from apps.core.crypto import digest, new_token, seal
from apps.core.ids import new_id, public_id
from apps.environments.models import Environment, EnvironmentKey
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.actors import Actor
from apps.orgs.models import Membership, Organization
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


def organization(name: str, *, owner: User) -> Tenant:
    """An organization with one project and the environments of its owner."""
    slug = name.lower()
    made, is_new = Organization.objects.get_or_create(
        slug=slug, defaults={"name": name, "created_at": NOW}
    )
    if is_new:
        member(made, owner, Role.OWNER)
    project = Project.objects.filter(organization=made).first() or Project.objects.create(
        organization=made,
        name=f"{name} shop",
        slug="shop",
        ref=public_id("proj", new_id()),
        created_at=NOW,
    )
    environments = {kind: _environment(project, kind, owner) for kind in EnvironmentType}
    _secrets.update({e.id: _key(e) for e in environments.values() if e.id not in _secrets})
    return Tenant(
        owner=owner,
        organization=made,
        project=project,
        production=environments[EnvironmentType.PRODUCTION],
        staging=environments[EnvironmentType.STAGING],
        preview=environments[EnvironmentType.PREVIEW],
        development=environments[EnvironmentType.DEVELOPMENT],
        keys={e.slug: _secrets[e.id] for e in environments.values()},
    )


_secrets: dict[object, str] = {}


def _scope(environment: Environment, actor: Actor) -> Scope:
    return Scope(
        actor=actor,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
    )


def _environment(project: Project, kind: EnvironmentType, owner: User) -> Environment:
    made, _ = Environment.objects.get_or_create(
        project=project,
        type=kind,
        owner=owner if kind is EnvironmentType.DEVELOPMENT else None,
        parent=None,
        defaults={
            "organization": project.organization,
            "slug": kind.slug,
            "name": kind.value.capitalize(),
            "created_at": NOW,
        },
    )
    return made


def _key(environment: Environment) -> str:
    secret = new_token(EnvironmentType(environment.type).key_prefix)
    key = EnvironmentKey(
        environment=environment, digest=digest(secret), hint=f"…{secret[-4:]}", created_at=NOW
    )
    key.sealed = seal(secret, context=key.seal_context)
    key.save()
    return secret
