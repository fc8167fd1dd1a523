"""Make the demo organization, or find it: its person, project, environments and keys."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from apps.accounts.models import User
from apps.accounts.operations.tokens import create_token
from apps.core import clock
from apps.environments.access import scope_for_user
from apps.environments.operations.life import start_project
from apps.environments.queries import current_key, get_environment, list_environments
from apps.orgs.actors import OrganizationScope
from apps.orgs.operations.organizations import create_organization
from apps.orgs.queries import list_organizations, organization_scope
from apps.projects.models import Project
from apps.projects.queries import list_projects

EMAIL = "demo@holdfast.local"
NAME = "Demo"


class Command(BaseCommand):
    help = "Make the demo organization with a project, its environments and keys; safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of words")
        parser.add_argument("--token", action="store_true", help="also make a personal token")

    def handle(self, *args: Any, **options: Any) -> None:
        seeded = seed(with_token=options["token"], now=clock.now())
        if options["json"]:
            self.stdout.write(json.dumps(seeded))
            return
        self.stdout.write(f"{seeded['email']} owns {seeded['organization']['name']}")
        self.stdout.write(f"project {seeded['project']['name']}: {seeded['project']['ref']}")
        for slug, environment in seeded["environments"].items():
            self.stdout.write(f"  {slug:8} {environment['key']}")
        if seeded["token"]:
            self.stdout.write(f"personal token (shown once): {seeded['token']}")


@transaction.atomic
def seed(*, with_token: bool, now: datetime) -> dict[str, Any]:
    """The demo organization and its secrets, made when missing."""
    user = _person()
    within = _organization(user, now=now)
    project = _project(within, now=now)
    scope_for_user(user, project.ref, "dev", now=now)
    return {
        "email": user.email,
        "organization": {
            "id": str(within.organization_id),
            "name": NAME,
            "slug": project.organization.slug,
        },
        "project": {"ref": project.ref, "name": project.name, "slug": project.slug},
        "environments": _environments(user, within, project, now=now),
        "token": create_token(user, name="seed", now=now).secret if with_token else None,
    }


def _person() -> User:
    # No password: nobody signs in as the demo person without somebody setting one.
    found = User.objects.filter(email=EMAIL).first()
    return found or User.objects.create_user(EMAIL, name="Demo")


def _organization(user: User, *, now: datetime) -> OrganizationScope:
    organizations = [found for found in list_organizations(user) if found.name == NAME]
    found = organizations[0] if organizations else None
    made = found or create_organization(user_id=user.id, name=NAME, now=now)
    return organization_scope(user, made.id)


def _project(within: OrganizationScope, *, now: datetime) -> Project:
    projects = [found for found in list_projects(within) if found.name == NAME]
    return projects[0] if projects else start_project(within, name=NAME, now=now)


def _environments(
    user: User, within: OrganizationScope, project: Project, *, now: datetime
) -> dict[str, dict[str, str]]:
    found = {}
    for environment in list_environments(within, project_ref=project.ref):
        scope = scope_for_user(user, project.ref, environment.slug, now=now)
        found[environment.slug] = {
            "id": get_environment(scope).public_id,
            "type": environment.type,
            "key": current_key(scope),
        }
    return found
