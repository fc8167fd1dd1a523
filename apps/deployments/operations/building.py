"""Building: an uploaded archive becomes a version, or a failure that says why.

The job carries only the deployment's id, and whoever builds holds an advisory lock of that name:
when the lock is free and the deployment still BUILDING, its job was lost, and the sweep starts it
again. What came out is written under the deployment's row lock, so a second build of the same one
finds it closed and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat, Right

from apps.core.errors import DomainError
from apps.core.facts import publish
from apps.core.locks import try_session_lock
from apps.deployments import policy
from apps.deployments.facts import DeploymentEnded, DeploymentFinalized
from apps.deployments.models import Deployment, DeploymentStatus
from apps.deployments.operations.shipping import close
from apps.deployments.operations.versions import Build, promote_version, register_version
from apps.deployments.providing import bundle_of, workspace
from apps.environments.models import Environment
from apps.environments.queries import runtime_variables
from apps.environments.scope import Scope
from apps.orgs.actors import SYSTEM
from apps.providers.environments import PythonEnvironment
from apps.providers.errors import BuildFailed, ProviderError
from apps.providers.indexing import read_manifest

Clock = Callable[[], datetime]  # a build takes minutes, so it asks for the time as it goes

logger = logging.getLogger(__name__)


def index_deployment(*, deployment_id: UUID, clock: Clock) -> None:
    """Build a deployment that is BUILDING; anything else, or one being built, is left alone."""
    with try_session_lock(_lock_name(deployment_id)) as is_mine:
        if not is_mine:
            return
        deployment = (
            Deployment.objects.select_related("environment")
            .filter(pk=deployment_id, status=DeploymentStatus.BUILDING)
            .first()
        )
        if deployment is not None:
            with _failure_is_kept(deployment, clock):
                _build(deployment, clock)


def sweep_deployments(*, now: datetime) -> None:
    """Start builds whose job was lost again, and end what has taken too long."""
    for row in Deployment.objects.filter(
        status=DeploymentStatus.BUILDING, building_at__lt=now - policy.BUILD_PATIENCE
    ).only("id", "building_at"):
        if row.building_at is not None and row.building_at < now - policy.BUILD_LIMIT:
            minutes = int(policy.BUILD_LIMIT.total_seconds() // 60)
            _time_out(row.id, f"The build took longer than {minutes} minutes", now=now)
        else:
            _restart_if_lost(row.id, now=now)
    late = Deployment.objects.filter(
        status=DeploymentStatus.PENDING, created_at__lt=now - policy.UPLOAD_LIMIT
    )
    for identifier in late.values_list("id", flat=True):
        _time_out(identifier, "The archive was not uploaded and finalized in time", now=now)


def _build(deployment: Deployment, clock: Clock) -> None:
    environment = deployment.environment
    bundle = bundle_of(
        archive=deployment.archive,
        sha256=deployment.archive_sha256,
        python_version=deployment.python_version,
    )
    _say(deployment, "Unpacking the archive")
    project = workspace().project(bundle)
    python = workspace().environment(bundle, log=lambda line: _say(deployment, line))
    _say(deployment, "Importing the tasks")
    manifest = read_manifest(
        python,
        project,
        variables=runtime_variables(environment),
        timeout=policy.INDEX_SECONDS,
    )
    _finish(deployment, manifest, python, now=clock())


@transaction.atomic
def _finish(
    deployment: Deployment, manifest: dict[str, Any], python: PythonEnvironment, *, now: datetime
) -> None:
    """Make the version, unless the deployment was canceled or timed out meanwhile."""
    row = Deployment.objects.select_for_update().get(pk=deployment.pk)
    if row.status != DeploymentStatus.BUILDING:
        return
    scope = _scope(deployment.environment)
    build = Build(
        archive=row.archive,
        archive_sha256=row.archive_sha256,
        lock_hash=python.lock_hash,
        python_version=row.python_version,
    )
    manifest = {**manifest, "contentHash": row.content_hash or manifest.get("contentHash", "")}
    version = register_version(scope, manifest=manifest, build=build, now=now)
    if row.promote:
        promote_version(scope, number=version.number, now=now)
    row.version, row.status = version, DeploymentStatus.DEPLOYED
    row.deployed_at = row.finished_at = now
    row.save(update_fields=["version", "status", "deployed_at", "finished_at"])
    count = version.tasks.count()
    _say(row, f"Deployed version {version.number} with {count} task{'s' * (count != 1)}")
    publish(
        DeploymentEnded(
            deployment_id=row.id, environment_id=row.environment_id, status=row.status, at=now
        )
    )


@contextmanager
def _failure_is_kept(deployment: Deployment, clock: Clock) -> Iterator[None]:
    """Whatever goes wrong in a build is its developer's to read, never lost in our log alone."""
    try:
        yield
    except BuildFailed as error:
        failure = _failure(error, error.message, output=error.output)
    except (ProviderError, DomainError) as error:
        failure = _failure(error, error.message)
    except Exception as error:  # the boundary of a job; the reason is ours, so it is logged too
        logger.exception("a build failed for a reason of ours", extra={"id": str(deployment.pk)})
        failure = _failure(error, f"Holdfast could not build this: {error}")
    else:
        return
    _fail(deployment, failure, now=clock())


def _failure(error: Exception, message: str, *, output: str = "") -> dict[str, str]:
    return {"name": type(error).__name__, "message": message, "traceback": output}


def _fail(deployment: Deployment, failure: dict[str, str], *, now: datetime) -> None:
    if failure["traceback"]:
        _say(deployment, failure["traceback"])
    _say(deployment, f"Failed: {failure['message']}")
    with transaction.atomic():
        row = Deployment.objects.select_for_update().get(pk=deployment.pk)
        if row.status == DeploymentStatus.BUILDING:
            close(row, DeploymentStatus.FAILED, error=failure, now=now)


def _say(deployment: Deployment, line: str) -> None:
    """Add to the log that the CLI follows; of a very long one the end is kept."""
    Deployment.objects.filter(pk=deployment.pk).update(
        log=Right(Concat("log", Value(line.replace("\0", "") + "\n")), Value(policy.LOG_CHARACTERS))
    )


def _restart_if_lost(deployment_id: UUID, *, now: datetime) -> None:
    with try_session_lock(_lock_name(deployment_id)) as is_lost:
        if is_lost:
            # In a transaction of its own, so that the fact goes out once it has ended.
            with transaction.atomic():
                publish(DeploymentFinalized(deployment_id=deployment_id, at=now))


@transaction.atomic
def _time_out(deployment_id: UUID, message: str, *, now: datetime) -> None:
    row = Deployment.objects.select_for_update().get(pk=deployment_id)
    if row.status in {DeploymentStatus.BUILDING, DeploymentStatus.PENDING}:
        error = {"name": "TimedOut", "message": message, "traceback": ""}
        close(row, DeploymentStatus.TIMED_OUT, error=error, now=now)


def _scope(environment: Environment) -> Scope:
    return Scope(
        actor=SYSTEM,
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
    )


def _lock_name(deployment_id: UUID) -> str:
    return f"build:{deployment_id}"
