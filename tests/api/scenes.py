"""What the tests of the API begin with: versions with tasks, and runs in some state."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.deployments.operations.versions import promote_version, register_version
from apps.environments.scope import Scope
from apps.runs.operations.finish import Ending, finish_runs
from apps.runs.states import RunStatus
from tests.api.client import Api

TASK = {"id": "resize", "filePath": "tasks/images.py", "entryPoint": "resize"}


def version(scope: Scope, *tasks: dict[str, Any], **manifest: Any) -> str:
    """A current version with these tasks; its number."""
    manifest = {"contentHash": "abc", "tasks": list(tasks) or [TASK], **manifest}
    now = clock.now()
    made = register_version(scope, manifest=manifest, now=now)
    promote_version(scope, number=made.number, now=now)
    return str(made.number)


def run(api: Api, task: str = "resize", payload: Any = None, **options: Any) -> str:
    """A run that was triggered; its id."""
    body: dict[str, Any] = {"options": options}
    if payload is not None:
        body["payload"] = payload
    return str(api.post(f"/api/v1/tasks/{task}/trigger", body).ok()["id"])


def finish(
    run_id: str,
    status: RunStatus = RunStatus.COMPLETED,
    *,
    output: str | None = None,
    output_type: str = "application/json",
    error: dict[str, Any] | None = None,
) -> None:
    """Bring a run to its end, as its worker's answer would."""
    ending = Ending(
        run_id=uuid_of(run_id),
        status=status,
        output=output,
        output_type=output_type,
        error=error,
        executed_ms=120,
    )
    with transaction.atomic():
        assert finish_runs([ending], now=clock.now()) == [uuid_of(run_id)]


def uuid_of(run_id: str) -> UUID:
    return parse_public_id("run", run_id)
