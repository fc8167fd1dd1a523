"""`python -m bench.crowd COUNT`: so many organizations, each with a project that nobody uses."""

from __future__ import annotations

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.accounts.models import User  # noqa: E402 -- needs the app registry
from apps.core import clock  # noqa: E402
from apps.environments.operations.life import start_project  # noqa: E402
from apps.orgs.operations.organizations import create_organization  # noqa: E402
from apps.orgs.queries import organization_scope  # noqa: E402


def main(count: int) -> None:
    owner = User.objects.create_user("crowd@example.com", name="Crowd")
    for number in range(count):
        now = clock.now()
        made = create_organization(user_id=owner.id, name=f"Idle {number}", now=now)
        start_project(organization_scope(owner, made.id), name="Idle", now=now)
    print(json.dumps({"made": count}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
