"""Versions: registered from a developer's machine, or shipped as an archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, cast
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.paging import CURSOR_PARAMETERS, cursor_page, pagination
from apps.api.schema import errors
from apps.api.serializers.deployments import (
    DeploymentBody,
    DeploymentDetailShape,
    DeploymentHandleShape,
    DeploymentPageShape,
    DeploymentShape,
    FinalizeBody,
    PromotedShape,
    WorkerBody,
    WorkerShape,
)
from apps.api.serializers.runs import IdShape
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import Page
from apps.deployments import queries
from apps.deployments.operations.shipping import (
    cancel_deployment,
    create_deployment,
    finalize_deployment,
    receive_archive,
)
from apps.deployments.operations.versions import promote_version, register_version
from apps.environments.queries import get_environment
from apps.environments.scope import Scope
from apps.orgs.permissions import Permission

_WORKER = WorkerBody()
_DEPLOYMENT = DeploymentBody()
_FINALIZE = FinalizeBody()
_READ = Public("read", ("deployments",))
_CHUNK = 64 * 1024


class WorkerList(Endpoint):
    """Development versions of a project."""

    body_limit = 32 * 1024 * 1024

    @extend_schema(
        operation_id="register_version",
        summary="Make a version of the tasks that a manifest lists; in development it is current",
        request=WorkerBody,
        responses={200: WorkerShape, **errors(400, 401, 404, 413, 422)},
        examples=[
            OpenApiExample(
                "One task",
                value={
                    "metadata": {
                        "contentHash": "5f2b…",
                        "tasks": [{"id": "resize", "filePath": "tasks/images.py"}],
                    }
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, ref: str) -> Response:
        if get_environment(self.scope).project.ref != ref:
            raise NotFound("This key is for another project")
        manifest = read(_WORKER, request.data)["metadata"]
        version = register_version(self.scope, manifest=manifest, now=self.now)
        return Response(
            {
                "id": public_id("worker", version.id),
                "version": version.number,
                "contentHash": version.content_hash,
            }
        )


class DeploymentList(Endpoint):
    """The deployments of an environment."""

    @extend_schema(
        operation_id="list_deployments",
        summary="List deployments, newest first",
        parameters=CURSOR_PARAMETERS[:2],
        responses={200: DeploymentPageShape, **errors(400, 401, 403)},
    )
    @accepts(public=_READ, member=Permission.DEPLOYMENTS_READ)
    def get(self, request: Request) -> Response:
        asked = cursor_page(request.query_params)
        self.caller.require("read", [("deployments", None)])
        found = queries.list_deployments(self.scope, before=asked.after, size=asked.size + 1)
        shown = found[: asked.size]
        page = Page(items=shown, next=shown[-1].id if len(found) > asked.size else None)
        current = _current(self.scope)
        return Response(
            {
                "data": [_shape(DeploymentShape, item, current) for item in shown],
                "pagination": pagination(page, now=self.now),
            }
        )

    @extend_schema(
        operation_id="create_deployment",
        summary="Announce a deployment; its archive is uploaded next",
        request=DeploymentBody,
        responses={200: DeploymentHandleShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "Deploy", value={"contentHash": "5f2b…", "pythonVersion": "3.11"}, request_only=True
            )
        ],
    )
    @accepts(member=Permission.DEPLOYMENTS_WRITE)
    def post(self, request: Request) -> Response:
        body = read(_DEPLOYMENT, request.data)
        made = create_deployment(
            self.scope,
            content_hash=body["contentHash"],
            git=body.get("git"),
            python_version=body.get("pythonVersion", ""),
            now=self.now,
        )
        identifier = public_id("deployment", made.id)
        return Response(
            {
                "id": identifier,
                "shortCode": made.short_code,
                "uploadUrl": f"{self.base}/api/v1/deployments/{identifier}/archive",
            }
        )


class CurrentDeployment(Endpoint):
    """The deployment whose version new runs get."""

    @extend_schema(
        operation_id="retrieve_current_deployment",
        summary="Retrieve the deployment whose version new runs get",
        responses={200: DeploymentShape, **errors(401, 403, 404)},
    )
    @accepts(public=_READ, member=Permission.DEPLOYMENTS_READ)
    def get(self, request: Request) -> Response:
        self.caller.require("read", [("deployments", None)])
        found = queries.get_current_deployment(self.scope)
        return Response(_shape(DeploymentShape, found, found.version_id))


class DeploymentDetail(Endpoint):
    """One deployment."""

    @extend_schema(
        operation_id="retrieve_deployment",
        summary="Retrieve a deployment with its log, its tasks, and its error when it failed",
        responses={200: DeploymentDetailShape, **errors(401, 403, 404)},
    )
    @accepts(
        public=Public("read", ("deployments",), kwarg="deployment"),
        member=Permission.DEPLOYMENTS_READ,
    )
    def get(self, request: Request, deployment: str) -> Response:
        found = queries.get_deployment(self.scope, _id(deployment))
        tasks = queries.tasks_of(self.scope, found.version_id) if found.version_id else []
        shape = _shape(DeploymentDetailShape, found, _current(self.scope), tasks=tasks)
        return Response(shape)


class DeploymentArchive(Endpoint):
    """The code of a deployment."""

    @extend_schema(
        operation_id="upload_archive",
        summary="Upload a deployment's .tar.gz, up to 256 MiB",
        request={"application/gzip": bytes},
        responses={200: IdShape, **errors(401, 404, 409, 413, 422)},
    )
    @accepts(member=Permission.DEPLOYMENTS_WRITE)
    def put(self, request: Request, deployment: str) -> Response:
        stream = cast(IO[bytes], request.stream)
        receive_archive(
            self.scope, deployment_id=_id(deployment), chunks=_chunks(stream), now=self.now
        )
        return Response({"id": deployment})


class Finalization(Endpoint):
    """The archive is complete."""

    @extend_schema(
        operation_id="finalize_deployment",
        summary="Have a deployment installed, indexed, and promoted",
        request=FinalizeBody,
        responses={200: IdShape, **errors(400, 401, 404, 409, 422)},
    )
    @accepts(member=Permission.DEPLOYMENTS_WRITE)
    def post(self, request: Request, deployment: str) -> Response:
        promote = read(_FINALIZE, request.data).get("promote", True)
        finalize_deployment(
            self.scope, deployment_id=_id(deployment), promote=promote, now=self.now
        )
        return Response({"id": deployment})


class DeploymentCancellation(Endpoint):
    """A deployment, given up."""

    @extend_schema(
        operation_id="cancel_deployment",
        summary="Give a deployment up",
        request=None,
        responses={200: IdShape, **errors(401, 404, 409)},
    )
    @accepts(member=Permission.DEPLOYMENTS_WRITE)
    def post(self, request: Request, deployment: str) -> Response:
        cancel_deployment(self.scope, deployment_id=_id(deployment), now=self.now)
        return Response({"id": deployment})


class Promotion(Endpoint):
    """The version that new runs get."""

    @extend_schema(
        operation_id="promote_version",
        summary="Make a version the one that new runs get; an older one is a rollback",
        request=None,
        responses={200: PromotedShape, **errors(401, 404)},
    )
    @accepts(member=Permission.DEPLOYMENTS_WRITE)
    def post(self, request: Request, version: str) -> Response:
        promoted = promote_version(self.scope, number=version, now=self.now)
        return Response({"id": public_id("worker", promoted.id), "version": promoted.number})


def _id(deployment: str) -> UUID:
    return parse_public_id("deployment", deployment)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _current(scope: Scope) -> UUID | None:
    version = queries.current_version(scope)
    return version.id if version else None


def _shape(
    shape: type[DeploymentShape], found: Any, current: UUID | None, *, tasks: Any = ()
) -> dict[str, Any]:
    is_detail = shape is DeploymentDetailShape
    described: dict[str, Any] = shape(
        {
            "id": found.id,
            "createdAt": found.created_at,
            "shortCode": found.short_code,
            "version": found.version.number if found.version else None,
            "runtime": "python",
            "runtimeVersion": found.python_version or None,
            "status": found.status,
            "deployedAt": found.deployed_at,
            "git": found.git,
            "error": found.error,
            "isCurrent": found.version_id is not None and found.version_id == current,
            "contentHash": found.content_hash,
            **({"log": found.log, "tasks": tasks} if is_detail else {}),
        }
    ).data
    return described
