"""Celery entry points of deployments; all run on `platform`, and tidying on each pool's too."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from apps.core import clock
from apps.deployments.facts import DeploymentFinalized
from apps.deployments.operations import building, tidying


@shared_task(name="deployments.index_deployment")
def index_deployment(deployment_id: str) -> None:
    building.index_deployment(deployment_id=UUID(deployment_id), clock=clock.now)


@shared_task(name="deployments.sweep_deployments")
def sweep_deployments() -> None:
    building.sweep_deployments(now=clock.now())


@shared_task(name="deployments.tidy_machine")
def tidy_machine() -> None:
    tidying.tidy_machine()


@shared_task(name="deployments.prune_history")
def prune_history() -> None:
    tidying.prune_history(now=clock.now())


def start_build(fact: DeploymentFinalized) -> None:
    """React to a finalized deployment; the sweep finds it should this message be lost."""
    index_deployment.delay(str(fact.deployment_id))
