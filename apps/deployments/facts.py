"""What deployments tell others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPromoted:
    """New runs of this environment get this version from now on."""

    environment_id: UUID
    version_id: UUID
    number: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesChanged:
    """A version declared these queues anew, or with other limits."""

    environment_id: UUID
    names: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFinalized:
    """A deployment has all it needs to be built."""

    deployment_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerToFreeze:
    """A provider wants to freeze a worker, whose runs have all waited for long."""

    session_id: UUID
    checkpoint_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentEnded:
    """A deployment was deployed, or failed, was canceled or timed out."""

    deployment_id: UUID
    environment_id: UUID
    status: str
    at: datetime
