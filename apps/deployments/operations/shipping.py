"""Shipping: a deployment is announced, its archive received, and its build asked for."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction

from apps.core.errors import Invalid, NotFound
from apps.core.facts import publish
from apps.deployments import policy
from apps.deployments.errors import ArchiveTooLarge, DeploymentClosed
from apps.deployments.facts import DeploymentEnded, DeploymentFinalized
from apps.deployments.models import Deployment, DeploymentStatus
from apps.environments.models import Environment
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.audit import record
from apps.orgs.permissions import Permission, require

_IN_MEMORY = 1024 * 1024
_GIT_CHARACTERS = 16_384


@transaction.atomic
def create_deployment(
    scope: Scope,
    *,
    content_hash: str = "",
    git: dict[str, Any] | None = None,
    python_version: str = "",
    now: datetime,
) -> Deployment:
    """Announce a deployment; its archive comes next."""
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    environment = Environment.objects.within(scope).get()
    if environment.type == EnvironmentType.DEVELOPMENT:
        raise Invalid(
            "A development environment runs on its developer's machine: use `holdfast dev`",
            detail={"environment": ["is a development environment"]},
        )
    if len(content_hash) > 128 or len(str(git or "")) > _GIT_CHARACTERS:
        raise Invalid("contentHash or git is too long", detail={"git": ["too long"]})
    deployment = Deployment.objects.create(
        environment=environment,
        short_code=policy.new_short_code(),
        content_hash=content_hash,
        python_version=python_version[:32],
        git=git,
        created_at=now,
    )
    record(
        scope.organization,
        action="deployment.created",
        target=("deployment", deployment.id),
        now=now,
    )
    return deployment


def receive_archive(
    scope: Scope, *, deployment_id: UUID, chunks: Iterable[bytes], now: datetime
) -> Deployment:
    """Store a deployment's .tar.gz as it streams in; raises ArchiveTooLarge over 256 MiB.

    No transaction is open while bytes arrive, since a client may be slow; the deployment is bound
    to the archive only once that is whole.
    """
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    _require_open(_find(scope, deployment_id))
    name = policy.archive_name(scope.environment_id, deployment_id)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        received = _receive(chunks, spool)  # type: ignore[arg-type]  # a BinaryIO in all but name
        spool.seek(0)
        default_storage.delete(name)
        stored = default_storage.save(name, File(spool))
    with transaction.atomic():
        deployment = _find(scope, deployment_id, for_update=True)
        _require_open(deployment)
        deployment.archive = stored
        deployment.archive_sha256 = received.sha256
        deployment.archive_bytes = received.size
        deployment.save(update_fields=["archive", "archive_sha256", "archive_bytes"])
    return deployment


@transaction.atomic
def finalize_deployment(
    scope: Scope, *, deployment_id: UUID, promote: bool = True, now: datetime
) -> Deployment:
    """Ask for the build; asking again changes nothing."""
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    deployment = _find(scope, deployment_id, for_update=True)
    if deployment.status in {DeploymentStatus.BUILDING, DeploymentStatus.DEPLOYED}:
        return deployment
    _require_open(deployment)
    if not deployment.archive:
        raise Invalid(
            "Upload the archive before the deployment is finalized",
            detail={"archive": ["missing"]},
        )
    deployment.status, deployment.promote = DeploymentStatus.BUILDING, promote
    deployment.building_at = now
    deployment.save(update_fields=["status", "promote", "building_at"])
    publish(DeploymentFinalized(deployment_id=deployment.id, at=now))
    return deployment


@transaction.atomic
def cancel_deployment(scope: Scope, *, deployment_id: UUID, now: datetime) -> Deployment:
    """Give a deployment up; one that is being built ends without a version."""
    require(scope.actor, Permission.DEPLOYMENTS_WRITE)
    deployment = _find(scope, deployment_id, for_update=True)
    if deployment.status == DeploymentStatus.CANCELED:
        return deployment
    if deployment.status not in {DeploymentStatus.PENDING, DeploymentStatus.BUILDING}:
        raise DeploymentClosed(f"This deployment is {deployment.status} already")
    close(deployment, DeploymentStatus.CANCELED, error=None, now=now)
    record(
        scope.organization,
        action="deployment.canceled",
        target=("deployment", deployment.id),
        now=now,
    )
    return deployment


def close(
    deployment: Deployment,
    status: DeploymentStatus,
    *,
    error: dict[str, Any] | None,
    now: datetime,
) -> None:
    """End a deployment that made no version; the caller holds its lock. Its archive goes."""
    archive, deployment.archive = deployment.archive, ""
    deployment.status, deployment.error, deployment.finished_at = status, error, now
    deployment.save(update_fields=["status", "error", "finished_at", "archive"])
    if archive:
        transaction.on_commit(lambda: default_storage.delete(archive), robust=True)
    publish(
        DeploymentEnded(
            deployment_id=deployment.id,
            environment_id=deployment.environment_id,
            status=status.value,
            at=now,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    sha256: str
    size: int


def _receive(chunks: Iterable[bytes], out: BinaryIO) -> _Received:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > policy.ARCHIVE_BYTES:
            raise ArchiveTooLarge(
                f"An archive may have {policy.ARCHIVE_BYTES // 1024**2} MiB; exclude what the tasks"
                " do not need with `ignore` in holdfast.toml"
            )
        digest.update(chunk)
        out.write(chunk)
    if size == 0:
        raise Invalid("The archive is empty", detail={"archive": ["empty"]})
    return _Received(sha256=digest.hexdigest(), size=size)


def _find(scope: Scope, deployment_id: UUID, *, for_update: bool = False) -> Deployment:
    rows = Deployment.objects.filter(environment_id=scope.environment_id, pk=deployment_id)
    found = (rows.select_for_update(of=("self",)) if for_update else rows).first()
    if found is None:
        raise NotFound("There is no such deployment in this environment")
    return found


def _require_open(deployment: Deployment) -> None:
    if deployment.status != DeploymentStatus.PENDING:
        raise DeploymentClosed
