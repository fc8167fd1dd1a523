"""The environments of a project: their limits, how these stand, and their branches."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.environments import (
    BRANCHED,
    BranchBody,
    ConcurrencyShape,
    EnvironmentLimitsBody,
    ProjectEnvironmentShape,
    SuccessShape,
)
from apps.environments import queries
from apps.environments.access import scope_for_user
from apps.environments.operations import life
from apps.environments.scope import Scope
from apps.orgs.queries import organization_scope
from apps.projects.queries import find_project_of
from apps.runs.usage import standing

_LIMITS = EnvironmentLimitsBody()
_BRANCH = BranchBody()


class EnvironmentList(Endpoint):
    """The environments of a project."""

    @extend_schema(
        operation_id="list_environments",
        summary="List the environments of a project: the standard ones, then one's own",
        responses={200: ProjectEnvironmentShape(many=True), **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, ref: str) -> Response:
        project = find_project_of(self.person, ref)
        within = organization_scope(self.person, project.organization_id)
        found = queries.list_environments(within, project_ref=ref)
        return Response(ProjectEnvironmentShape(found, many=True).data)


class EnvironmentLimits(Endpoint):
    """How many runs an environment executes at once, and its share beside others."""

    @extend_schema(
        operation_id="change_environment_limits",
        summary="Say how many runs an environment executes at once, and its share beside others",
        request=EnvironmentLimitsBody,
        responses={200: ProjectEnvironmentShape, **errors(400, 401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def put(self, request: Request, ref: str, env: str) -> Response:
        asked = read(_LIMITS, request.data)
        changed = life.change_limits(
            self.scope_in(ref, env),
            concurrency_limit=asked.get("concurrencyLimit"),
            weight=asked.get("weight"),
            now=self.now,
        )
        return Response(ProjectEnvironmentShape(changed).data)


class EnvironmentConcurrency(Endpoint):
    """How much of the limits above the queues is used."""

    @extend_schema(
        operation_id="retrieve_concurrency",
        summary="Retrieve how many slots of an environment and its organization are held",
        responses={200: ConcurrencyShape, **errors(401, 404)},
    )
    @accepts(person=True)
    def get(self, request: Request, ref: str, env: str) -> Response:
        return Response(ConcurrencyShape(standing(self.scope_in(ref, env))).data)


class BranchEndpoint(Endpoint):
    """What the endpoints of branches share: the environment whose branches they are."""

    def parent(self, ref: str, env: str) -> Scope:
        """The environment itself, even when the request names one of its branches."""
        slug = "dev" if env == "development" else env
        if self.caller.user is None:
            return self.scope_in(ref, slug)
        return scope_for_user(self.caller.user, ref, slug, now=self.now)


class BranchList(BranchEndpoint):
    """The branches of an environment."""

    @extend_schema(
        operation_id="list_branches",
        summary="List the active branches of an environment, newest first",
        parameters=[
            OpenApiParameter("env", str, enum=["preview", "dev"], description="`preview`.")
        ],
        responses={200: ProjectEnvironmentShape(many=True), **errors(401, 404)},
    )
    @accepts(person=True)
    def get(self, request: Request, ref: str) -> Response:
        scope = self.parent(ref, request.query_params.get("env", BRANCHED))
        return Response(ProjectEnvironmentShape(queries.list_branches(scope), many=True).data)

    @extend_schema(
        operation_id="create_branch",
        summary="Make a branch of an environment, or retrieve the one that there is",
        request=BranchBody,
        responses={200: ProjectEnvironmentShape, **errors(400, 401, 403, 404, 422)},
        examples=[
            OpenApiExample(
                "Preview", value={"env": "preview", "branch": "feature/cart"}, request_only=True
            )
        ],
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str) -> Response:
        body = read(_BRANCH, request.data)
        scope = self.parent(ref, body.get("env", BRANCHED))
        made = life.upsert_branch(scope, branch=body["branch"], now=self.now)
        return Response(ProjectEnvironmentShape(made).data)


class BranchArchival(BranchEndpoint):
    """A branch, put away."""

    @extend_schema(
        operation_id="archive_branch",
        summary="Put a branch away; its history stays, its name becomes free",
        request=BranchBody,
        responses={200: SuccessShape, **errors(400, 401, 403, 404, 422)},
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str) -> Response:
        body = read(_BRANCH, request.data)
        scope = self.parent(ref, body.get("env", BRANCHED))
        life.archive_branch(scope, branch=body["branch"], now=self.now)
        return Response({"success": True})
