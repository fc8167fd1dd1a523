"""Versions and deployments."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import (
    Body,
    ObjectField,
    PublicIdField,
    Shape,
    StrictBooleanField,
)
from apps.api.serializers.runs import CursorsShape

STATUSES = ["PENDING", "BUILDING", "DEPLOYING", "DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT"]


class WorkerBody(Body):
    """A development version: what a developer's process has found in the code."""

    metadata = ObjectField(help_text="The manifest: contentHash, tasks, queues.")


class WorkerShape(Shape):
    """The version that was registered."""

    id = PublicIdField("worker")
    version = serializers.CharField()
    contentHash = serializers.CharField()


class DeploymentBody(Body):
    """A deployment, about to be uploaded."""

    contentHash = serializers.CharField(max_length=128)
    pythonVersion = serializers.CharField(required=False, max_length=32)
    sdkVersion = serializers.CharField(required=False, max_length=64)
    git = ObjectField(required=False)


class DeploymentHandleShape(Shape):
    """A deployment that waits for its archive."""

    id = PublicIdField("deployment")
    shortCode = serializers.CharField()
    uploadUrl = serializers.CharField()


class FinalizeBody(Body):
    """The archive is complete."""

    promote = StrictBooleanField(required=False)


class DeploymentErrorShape(Shape):
    """Why a deployment failed."""

    message = serializers.CharField()
    name = serializers.CharField(required=False)
    traceback = serializers.CharField(required=False)


class DeployedTaskShape(Shape):
    """A task of the version that was deployed."""

    id = serializers.CharField(source="slug")
    filePath = serializers.CharField(source="file_path")
    queue = serializers.CharField(source="queue_name")
    machine = serializers.CharField()


class DeploymentShape(Shape):
    """A deployment, as lists show it."""

    nullable = frozenset({"runtime", "runtimeVersion", "version"})

    id = PublicIdField("deployment")
    createdAt = serializers.DateTimeField()
    shortCode = serializers.CharField()
    version = serializers.CharField(allow_null=True)
    runtime = serializers.CharField(allow_null=True)
    runtimeVersion = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(STATUSES)
    deployedAt = serializers.DateTimeField(required=False)
    git = ObjectField(required=False)
    error = DeploymentErrorShape(required=False)
    isCurrent = serializers.BooleanField(required=False)


class DeploymentDetailShape(DeploymentShape):
    """One deployment with its log and its tasks."""

    contentHash = serializers.CharField()
    log = serializers.CharField(allow_blank=True)
    tasks = DeployedTaskShape(many=True)


class DeploymentPageShape(Shape):
    """One page of deployments, newest first."""

    data = DeploymentShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = CursorsShape()


class PromotedShape(Shape):
    """The version that new runs get now."""

    id = serializers.CharField()
    version = serializers.CharField()
    shortCode = serializers.CharField(required=False)
