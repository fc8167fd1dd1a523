"""Organizations and their projects, for the people who are in them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.environments import SuccessShape
from apps.api.serializers.organizations import (
    FIRST_PROJECT,
    NameBody,
    OrganizationBody,
    OrganizationChangesBody,
    OrganizationShape,
    ProjectShape,
)
from apps.environments.operations.life import found_organization, start_project
from apps.orgs.actors import OrganizationScope
from apps.orgs.operations.members import leave_organization
from apps.orgs.operations.organizations import rename_organization
from apps.orgs.queries import get_organization, list_organizations, organization_scope
from apps.projects import operations, queries

_ORGANIZATION = OrganizationBody()
_TITLE = OrganizationChangesBody()
_NAME = NameBody()
_DONE = {"success": True}


class OrganizationList(Endpoint):
    """The organizations of a person."""

    @extend_schema(
        operation_id="list_organizations",
        summary="List the organizations that one is a member of, by name",
        responses={200: OrganizationShape(many=True), **errors(401)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request) -> Response:
        return Response(OrganizationShape(list_organizations(self.person), many=True).data)

    @extend_schema(
        operation_id="create_organization",
        summary="Found an organization with its first project",
        request=OrganizationBody,
        responses={200: ProjectShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "Acme", value={"title": "Acme", "projectName": "Shop"}, request_only=True
            )
        ],
    )
    @accepts(key=False, person=True)
    def post(self, request: Request) -> Response:
        body = read(_ORGANIZATION, request.data)
        made = found_organization(
            self.person,
            name=body["title"],
            project_name=body.get("projectName", FIRST_PROJECT),
            now=self.now,
        )
        return Response(ProjectShape(made).data)


class OrganizationDetail(Endpoint):
    """One organization."""

    @extend_schema(
        operation_id="retrieve_organization",
        summary="Retrieve an organization, and one's own role in it",
        responses={200: OrganizationShape, **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, organization: str) -> Response:
        scope = self.organization_in(organization)
        return Response(_shape(scope, get_organization(scope)))

    @extend_schema(
        operation_id="rename_organization",
        summary="Rename an organization; its slug stays",
        request=OrganizationChangesBody,
        responses={200: OrganizationShape, **errors(400, 401, 403, 404, 422)},
    )
    @accepts(key=False, person=True)
    def patch(self, request: Request, organization: str) -> Response:
        scope, title = self.organization_in(organization), read(_TITLE, request.data)["title"]
        return Response(_shape(scope, rename_organization(scope, name=title, now=self.now)))

    @extend_schema(
        operation_id="delete_organization",
        summary="Take an organization away from everybody, with all of its projects",
        responses={200: SuccessShape, **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, organization: str) -> Response:
        operations.delete_organization(self.organization_in(organization), now=self.now)
        return Response(_DONE)


class OwnMembership(Endpoint):
    """One's own place in an organization."""

    @extend_schema(
        operation_id="leave_organization",
        summary="Leave an organization; its last owner cannot",
        responses={200: SuccessShape, **errors(401, 404, 409)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, organization: str) -> Response:
        leave_organization(self.organization_in(organization), now=self.now)
        return Response(_DONE)


class ProjectsOfOrganization(Endpoint):
    """The projects of one organization."""

    @extend_schema(
        operation_id="list_projects_of_organization",
        summary="List the projects of an organization, by name",
        responses={200: ProjectShape(many=True), **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, organization: str) -> Response:
        found = queries.list_projects(self.organization_in(organization))
        return Response(ProjectShape(found, many=True).data)

    @extend_schema(
        operation_id="create_project",
        summary="Start a project, with its environments and their keys",
        request=NameBody,
        responses={200: ProjectShape, **errors(400, 401, 403, 404, 422)},
    )
    @accepts(key=False, person=True)
    def post(self, request: Request, organization: str) -> Response:
        scope, name = self.organization_in(organization), read(_NAME, request.data)["name"]
        return Response(ProjectShape(start_project(scope, name=name, now=self.now)).data)


class ProjectList(Endpoint):
    """The projects of all organizations of a person."""

    @extend_schema(
        operation_id="list_projects",
        summary="List the projects that one can see, by organization and name",
        responses={200: ProjectShape(many=True), **errors(401)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request) -> Response:
        return Response(ProjectShape(queries.list_projects_of(self.person), many=True).data)


class ProjectDetail(Endpoint):
    """One project."""

    @extend_schema(
        operation_id="retrieve_project",
        summary="Retrieve a project",
        responses={200: ProjectShape, **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, ref: str) -> Response:
        return Response(ProjectShape(queries.find_project_of(self.person, ref)).data)

    @extend_schema(
        operation_id="rename_project",
        summary="Rename a project; its ref and its slug stay",
        request=NameBody,
        responses={200: ProjectShape, **errors(400, 401, 403, 404, 422)},
    )
    @accepts(key=False, person=True)
    def patch(self, request: Request, ref: str) -> Response:
        name = read(_NAME, request.data)["name"]
        scope, project = self._place(ref)
        changed = operations.rename_project(scope, project_id=project.id, name=name, now=self.now)
        return Response(ProjectShape(changed).data)

    @extend_schema(
        operation_id="delete_project",
        summary="Put a project away: its keys stop working, its history stays",
        responses={200: SuccessShape, **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, ref: str) -> Response:
        scope, project = self._place(ref)
        operations.archive_project(scope, project_id=project.id, now=self.now)
        return Response(_DONE)

    def _place(self, ref: str) -> tuple[OrganizationScope, Any]:
        project = queries.find_project_of(self.person, ref)
        return organization_scope(self.person, project.organization_id), project


def _shape(scope: OrganizationScope, organization: Any) -> dict[str, Any]:
    return {**OrganizationShape(organization).data, "role": scope.actor.role}
