"""Organizations, their projects, and the people in them."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Body, ObjectField, PublicIdField, Shape
from apps.api.serializers.runs import CursorsShape
from apps.orgs.roles import Role

FIRST_PROJECT = "My project"
_ROLES = [role.value for role in Role]


class OrganizationShape(Shape):
    """An organization; `role` is the caller's own, where one organization is shown."""

    id = PublicIdField("org")
    title = serializers.CharField(source="name")
    slug = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")
    role = serializers.ChoiceField(_ROLES, required=False)


class ProjectShape(Shape):
    """A project; paths know it by its `externalRef`."""

    id = PublicIdField("proj")
    externalRef = serializers.CharField(source="ref")
    name = serializers.CharField()
    slug = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")
    organization = OrganizationShape()


class OrganizationBody(Body):
    """A new organization, which has a project from the beginning."""

    title = serializers.CharField()
    projectName = serializers.CharField(default=FIRST_PROJECT)


class OrganizationChangesBody(Body):
    """What an organization is called from now on."""

    title = serializers.CharField()


class NameBody(Body):
    """What something is called."""

    name = serializers.CharField()


class MemberShape(Shape):
    """Somebody's place in an organization."""

    id = PublicIdField("user", source="user_id")
    name = serializers.CharField(source="user.name")
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(_ROLES)
    joinedAt = serializers.DateTimeField(source="created_at")


class RoleBody(Body):
    """What a member may do from now on."""

    role = serializers.CharField(help_text=f"One of {', '.join(_ROLES)}.")


class InviteShape(Shape):
    """An invite that was neither accepted nor revoked; one that has expired can be sent again."""

    id = PublicIdField("invite")
    email = serializers.EmailField()
    role = serializers.ChoiceField(_ROLES)
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")
    sentAt = serializers.DateTimeField(
        source="sent_at", required=False, help_text="Absent until its mail has gone out."
    )


class InviteBody(Body):
    """Whom to invite, and as what."""

    email = serializers.CharField()
    role = serializers.CharField(
        default=Role.DEVELOPER.value, help_text=f"One of {', '.join(_ROLES)}."
    )


class SentInviteShape(Shape):
    """An invite that goes out by mail; its link is shown to nobody else."""

    id = PublicIdField("invite", source="invite_id")


class AcceptanceBody(Body):
    """The token at the end of an invite's link."""

    token = serializers.CharField(max_length=256)


class ActorShape(Shape):
    """Who caused a change: a person, a key, the holder of a public token, or Holdfast itself."""

    kind = serializers.ChoiceField(["user", "key", "public_token", "system"])
    id = serializers.CharField(required=False)
    name = serializers.CharField()


class TargetShape(Shape):
    """What was changed."""

    type = serializers.CharField()
    id = serializers.CharField()


class AuditEntryShape(Shape):
    """One change that somebody caused."""

    id = PublicIdField("audit")
    at = serializers.DateTimeField()
    actor = ActorShape()
    action = serializers.CharField(help_text="Such as member.role_changed.")
    target = TargetShape()
    environmentId = PublicIdField("env", source="environment_id", required=False)
    detail = ObjectField()


class AuditPageShape(Shape):
    """One page of the audit log, newest first."""

    data = AuditEntryShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = CursorsShape()
