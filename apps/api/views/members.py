"""Members of an organization, invites to it, and its audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.paging import CURSOR_PARAMETERS, cursor_page, pagination
from apps.api.run_filters import FilterReader, moment
from apps.api.schema import errors
from apps.api.serializers.environments import SuccessShape
from apps.api.serializers.organizations import (
    AcceptanceBody,
    AuditEntryShape,
    AuditPageShape,
    InviteBody,
    InviteShape,
    MemberShape,
    OrganizationShape,
    RoleBody,
    SentInviteShape,
)
from apps.core.ids import parse_public_id, public_id
from apps.environments.queries import names_of_actors
from apps.orgs import queries
from apps.orgs.filters import AuditFilters
from apps.orgs.operations import invites, members
from apps.orgs.roles import Role

_ROLE = RoleBody()
_INVITE = InviteBody()
_ACCEPTANCE = AcceptanceBody()
_DONE = {"success": True}
# What ids are called outside, by the kinds of things that changes are about.
_PREFIXES = {
    "bulk_action": "bulk",
    "deployment": "deployment",
    "environment": "env",
    "invite": "invite",
    "organization": "org",
    "project": "proj",
    "queue": "queue",
    "schedule": "sched",
    "user": "user",
}


class MemberList(Endpoint):
    """Who is in an organization."""

    @extend_schema(
        operation_id="list_members",
        summary="List the members of an organization, the longest-standing first",
        responses={200: MemberShape(many=True), **errors(401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, organization: str) -> Response:
        found = queries.list_members(self.organization_in(organization))
        return Response(MemberShape(found, many=True).data)


class MemberDetail(Endpoint):
    """One member."""

    @extend_schema(
        operation_id="change_role",
        summary="Give a member another role, up to one's own",
        request=RoleBody,
        responses={200: MemberShape, **errors(400, 401, 403, 404, 409, 422)},
        examples=[OpenApiExample("Admin", value={"role": "admin"}, request_only=True)],
    )
    @accepts(key=False, person=True)
    def patch(self, request: Request, organization: str, user: str) -> Response:
        scope, role = self.organization_in(organization), read(_ROLE, request.data)["role"]
        user_id = parse_public_id("user", user)
        changed = members.change_role(scope, user_id=user_id, role=role, now=self.now)
        return Response(MemberShape(changed).data)

    @extend_schema(
        operation_id="remove_member",
        summary="End somebody's membership; their development keys stop working",
        responses={200: SuccessShape, **errors(401, 403, 404, 409)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, organization: str, user: str) -> Response:
        scope, user_id = self.organization_in(organization), parse_public_id("user", user)
        members.remove_member(scope, user_id=user_id, now=self.now)
        return Response(_DONE)


class InviteList(Endpoint):
    """Who is invited."""

    @extend_schema(
        operation_id="list_invites",
        summary="List invites that were neither accepted nor revoked, newest first",
        responses={200: InviteShape(many=True), **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, organization: str) -> Response:
        found = queries.list_pending_invites(self.organization_in(organization))
        return Response(InviteShape(found, many=True).data)

    @extend_schema(
        operation_id="create_invite",
        summary="Invite an address by mail; a pending invite to it is renewed",
        request=InviteBody,
        responses={200: SentInviteShape, **errors(400, 401, 403, 404, 409, 422)},
        examples=[
            OpenApiExample(
                "A developer",
                value={"email": "bob@example.com", "role": "developer"},
                request_only=True,
            )
        ],
    )
    @accepts(key=False, person=True)
    def post(self, request: Request, organization: str) -> Response:
        scope, body = self.organization_in(organization), read(_INVITE, request.data)
        role = body.get("role", Role.DEVELOPER)
        made = invites.invite_member(scope, email=body["email"], role=role, now=self.now)
        return Response(SentInviteShape(made).data)


class InviteDetail(Endpoint):
    """One invite."""

    @extend_schema(
        operation_id="revoke_invite",
        summary="End an invite",
        responses={200: SuccessShape, **errors(401, 403, 404, 422)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, organization: str, invite: str) -> Response:
        scope, invite_id = self.organization_in(organization), parse_public_id("invite", invite)
        invites.revoke_invite(scope, invite_id=invite_id, now=self.now)
        return Response(_DONE)


class InviteRenewal(Endpoint):
    """An invite, sent again."""

    @extend_schema(
        operation_id="resend_invite",
        summary="Mail an invite again, also one that has expired; its older link ends",
        request=None,
        responses={200: SentInviteShape, **errors(401, 403, 404, 409)},
    )
    @accepts(key=False, person=True)
    def post(self, request: Request, organization: str, invite: str) -> Response:
        scope, invite_id = self.organization_in(organization), parse_public_id("invite", invite)
        made = invites.renew_invite(scope, invite_id=invite_id, now=self.now)
        return Response(SentInviteShape(made).data)


class InviteAcceptance(Endpoint):
    """An invite, taken up."""

    @extend_schema(
        operation_id="accept_invite",
        summary="Become a member by an invite that went to one's own address",
        request=AcceptanceBody,
        responses={200: OrganizationShape, **errors(400, 401, 403, 422)},
    )
    @accepts(key=False, person=True)
    def post(self, request: Request) -> Response:
        token = read(_ACCEPTANCE, request.data)["token"]
        joined = invites.accept_invite(self.person, token=token, now=self.now)
        return Response({**OrganizationShape(joined.organization).data, "role": joined.role})


class AuditLog(Endpoint):
    """Who changed what, and when."""

    @extend_schema(
        operation_id="list_audit_entries",
        summary="List the changes that people and keys caused, newest first",
        parameters=[
            OpenApiParameter(
                "filter[about]", str, description="What actions begin with, such as member."
            ),
            OpenApiParameter("filter[user]", str, description="The id of a person: user_…"),
            OpenApiParameter("filter[environment]", str, description="The id of one: env_…"),
            OpenApiParameter(
                "filter[createdAt][from]", str, description="ISO 8601, or milliseconds since 1970."
            ),
            OpenApiParameter(
                "filter[createdAt][to]", str, description="ISO 8601, or milliseconds since 1970."
            ),
            *CURSOR_PARAMETERS,
        ],
        responses={200: AuditPageShape, **errors(400, 401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, organization: str) -> Response:
        scope, asked = self.organization_in(organization), FilterReader(request.query_params)
        filters = AuditFilters(
            about=asked.one("about", str) or "",
            actor_id=asked.one("user", lambda text: parse_public_id("user", text)),
            environment_id=asked.one("environment", lambda text: parse_public_id("env", text)),
            since=asked.one("createdAt][from", moment),
            until=asked.one("createdAt][to", moment),
        )
        page = queries.audit_page(scope, filters, cursor_page(request.query_params))
        names = names_of_actors(scope, page.items)
        shown = [AuditEntryShape(_entry(entry, names)).data for entry in page.items]
        return Response({"data": shown, "pagination": pagination(page, now=self.now)})


def _entry(entry: Any, names: Mapping[UUID, str]) -> dict[str, Any]:
    unnamed = "Holdfast" if entry.actor_kind == "system" else f"a {entry.actor_kind}"
    prefix = {"user": "user", "key": "key"}.get(entry.actor_kind)
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": {
            "kind": entry.actor_kind,
            "id": public_id(prefix, entry.actor_id) if prefix and entry.actor_id else None,
            "name": names.get(entry.actor_id) or unnamed.replace("_", " "),
        },
        "action": entry.action,
        "target": {"type": entry.target_type, "id": _target(entry)},
        "environment_id": entry.environment_id,
        "detail": entry.detail,
    }


def _target(entry: Any) -> str:
    """The id of what was changed as other answers spell it; as it was kept, for what has none."""
    try:
        return public_id(_PREFIXES[entry.target_type], UUID(entry.target_id))
    except (KeyError, ValueError):
        return str(entry.target_id)
