"""`python -m bench.register ENVIRONMENT MANIFEST`: make a version current without a deployment."""

from __future__ import annotations

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.core import clock  # noqa: E402 -- needs the app registry
from apps.core.ids import parse_public_id  # noqa: E402
from apps.deployments.operations.versions import promote_version, register_version  # noqa: E402
from apps.environments.models import Environment  # noqa: E402
from apps.environments.scope import Scope  # noqa: E402
from apps.orgs.actors import SYSTEM  # noqa: E402


def main(environment_id: str, manifest: str) -> None:
    environment = Environment.objects.get(pk=parse_public_id("env", environment_id))
    scope = Scope(
        actor=SYSTEM,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
    )
    version = register_version(scope, manifest=json.loads(manifest), now=clock.now())
    promote_version(scope, number=version.number, now=clock.now())
    print(json.dumps({"version": version.number}))


if __name__ == "__main__":
    main(*sys.argv[1:])
