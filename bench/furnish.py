"""`python -m bench.furnish RUNS`: an environment with so much history, and a session to look at it.

The rows are made inside PostgreSQL, spread over the last six days; every fortieth failed, and one
in 200,000 crashed. Prints where the environment is and the cookie of its owner.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402 -- needs the app registry
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import connection  # noqa: E402

from apps.accounts.models import User  # noqa: E402
from apps.core import clock  # noqa: E402
from apps.core.partitions import ensure_partitions  # noqa: E402
from apps.deployments.operations.versions import (  # noqa: E402
    promote_version,
    register_version,
)
from apps.environments.operations.life import start_project  # noqa: E402
from apps.environments.scope import Scope  # noqa: E402
from apps.orgs.actors import SYSTEM  # noqa: E402
from apps.orgs.operations.organizations import create_organization  # noqa: E402
from apps.orgs.queries import organization_scope  # noqa: E402
from apps.runs.models import PARTITIONED, Run  # noqa: E402
from apps.runs.states import RunStatus  # noqa: E402

_SPREAD = timedelta(days=6)
_TASKS = [f"task-{number}" for number in range(20)]
# Like the one run that is there, but for what is named: so a new column needs nothing here.
_RUNS = """
INSERT INTO runs_run
SELECT fresh.*
FROM (
    SELECT number, %(now)s::timestamptz - number * (%(spread)s::interval / %(count)s::float) AS at
    FROM generate_series(1, %(count)s::integer) AS number
) AS moment
CROSS JOIN LATERAL (SELECT * FROM runs_run WHERE id = %(sample)s) AS sample
CROSS JOIN LATERAL jsonb_populate_record(sample::runs_run, jsonb_build_object(
    'id', lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(number::text), 1, 3) || '8' || substr(md5(number::text), 4, 15),
    'task', (%(tasks)s::text[])[1 + number %% cardinality(%(tasks)s::text[])],
    'status', CASE WHEN number %% 200000 = 77 THEN 'CRASHED'
        WHEN number %% 40 = 0 THEN 'FAILED' ELSE 'COMPLETED' END,
    'tags', CASE WHEN number %% 10 = 0 THEN '["tenth"]'::jsonb ELSE '[]'::jsonb END,
    'created_at', at, 'updated_at', at,
    'started_at', at + interval '50 ms', 'finished_at', at + interval '1.3 s'
)) AS fresh
"""
_TAGS = """
INSERT INTO runs_runtag (run_id, tag, environment_id)
SELECT id, 'tenth', environment_id FROM runs_run
WHERE environment_id = %(environment)s AND tags <> '{}'
"""


def main(count: int) -> None:
    now = clock.now()
    owner = User.objects.create_user("pages@example.com", name="Pages")
    organization = create_organization(user_id=owner.id, name="Pages", now=now)
    project = start_project(organization_scope(owner, organization.id), name="History", now=now)
    environment = project.environments.get(slug="prod")
    _ship(
        Scope(
            actor=SYSTEM,
            organization_id=organization.id,
            project_id=project.id,
            environment_id=environment.id,
        ),
        now=now,
    )
    _fill(environment.id, count, now=now)
    root = f"/orgs/{organization.slug}/projects/{project.slug}/env/prod"
    print(json.dumps({"root": root, "cookie": _session(owner)}))


def _ship(scope: Scope, *, now: datetime) -> None:
    tasks = [{"id": name, "filePath": "tasks.py", "entryPoint": name} for name in _TASKS]
    manifest = {"contentHash": "pages", "tasks": tasks}
    version = register_version(scope, manifest=manifest, now=now)
    promote_version(scope, number=version.number, now=now)


def _fill(environment_id: UUID, count: int, *, now: datetime) -> None:
    days = _SPREAD.days + 2
    ensure_partitions(PARTITIONED, first=(now - _SPREAD - timedelta(days=1)).date(), days=days)
    sample = Run.objects.create(
        environment_id=environment_id,
        task=_TASKS[0],
        status=RunStatus.COMPLETED,
        queue=_TASKS[0],
        payload=json.dumps({"text": "x" * 300}),
        attempt_count=1,
        version_number="1",
        created_at=now,
        updated_at=now,
        started_at=now,
        finished_at=now,
    )
    values: dict[str, Any] = {
        "environment": environment_id, "sample": sample.pk, "tasks": _TASKS, "now": now,
        "spread": _SPREAD, "count": count,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_RUNS, values)
        cursor.execute(_TAGS, values)
        cursor.execute("VACUUM ANALYZE runs_run")
        cursor.execute("VACUUM ANALYZE runs_runtag")


def _session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


if __name__ == "__main__":
    main(int(sys.argv[1]))
