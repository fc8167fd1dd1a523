"""Celery entry points of deployments; all run on the queue `platform`."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from apps.core import clock
from apps.deployments.facts import DeploymentFinalized
from apps.deployments.operations import building


@shared_task(name="deployments.index_deployment", queue="platform")
def index_deployment(deployment_id: str) -> None:
    building.index_deployment(deployment_id=UUID(deployment_id), clock=clock.now)


@shared_task(name="deployments.sweep_deployments", queue="platform")
def sweep_deployments() -> None:
    building.sweep_deployments(now=clock.now())


def start_build(fact: DeploymentFinalized) -> None:
    """React to a finalized deployment; the sweep finds it should this message be lost."""
    index_deployment.delay(str(fact.deployment_id))
