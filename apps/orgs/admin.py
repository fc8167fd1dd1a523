"""Organizations for the staff; what members do themselves is only shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from apps.core import clock
from apps.core.admin import MadeByOperations, ReadOnly
from apps.core.facts import publish
from apps.orgs.actors import Actor, OrganizationScope
from apps.orgs.audit import record
from apps.orgs.facts import OrganizationLimitChanged
from apps.orgs.models import AuditEntry, Invite, Membership, Organization

if TYPE_CHECKING:
    _TabularInline = admin.TabularInline[Membership, Organization]
else:
    _TabularInline = admin.TabularInline


def record_change(
    request: HttpRequest,
    form: ModelForm[Any],
    *,
    organization_id: UUID,
    environment_id: UUID | None = None,
) -> None:
    """Write what the staff changed into the organization's own log too."""
    if not form.changed_data:
        return
    scope = OrganizationScope(
        actor=Actor(kind="user", id=request.user.pk),
        organization_id=organization_id,
        environment_id=environment_id,
    )
    kind = "environment" if environment_id else "organization"
    record(
        scope,
        action=f"{kind}.changed_by_staff",
        target=(kind, environment_id or organization_id),
        detail={name: form.cleaned_data[name] for name in form.changed_data},
        now=clock.now(),
    )


class MembershipInline(_TabularInline):
    model = Membership
    fields = ["user", "role", "created_at"]
    readonly_fields = ["user", "role", "created_at"]
    extra = 0
    can_delete = False
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "organization")

    def has_add_permission(self, *args: object) -> bool:
        return False


@admin.register(Organization)
class OrganizationAdmin(MadeByOperations[Organization]):
    list_display = ["name", "slug", "concurrency_limit", "weight", "created_at"]
    list_filter = [("concurrency_limit", admin.EmptyFieldListFilter), "created_at"]
    search_fields = ["name", "slug", "memberships__user__email"]
    readonly_fields = ["id", "created_at"]
    inlines = [MembershipInline]

    def save_model(
        self,
        request: HttpRequest,
        obj: Organization,
        form: ModelForm[Organization],
        change: bool,
    ) -> None:
        super().save_model(request, obj, form, change)
        record_change(request, form, organization_id=obj.pk)
        if "concurrency_limit" in form.changed_data:
            publish(OrganizationLimitChanged(organization_id=obj.pk, at=clock.now()))


@admin.register(Membership)
class MembershipAdmin(ReadOnly[Membership]):
    list_display = ["user", "organization", "role", "created_at"]
    list_filter = ["role", "created_at"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "organization__name", "organization__slug"]


@admin.register(Invite)
class InviteAdmin(ReadOnly[Invite]):
    list_display = ["email", "organization", "role", "created_at", "expires_at", "sent_at"]
    list_filter = [
        "role",
        ("sent_at", admin.EmptyFieldListFilter),
        ("accepted_at", admin.EmptyFieldListFilter),
        ("revoked_at", admin.EmptyFieldListFilter),
    ]
    list_select_related = ["organization"]
    search_fields = ["email", "organization__name", "organization__slug"]
    exclude = ["digest", "sealed"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly[AuditEntry]):
    list_display = ["at", "organization", "actor_kind", "actor_id", "action", "target"]
    list_filter = ["actor_kind", "target_type", "at"]
    list_select_related = ["organization"]
    search_fields = ["action", "target_id", "organization__name", "organization__slug"]
    date_hierarchy = "at"
    ordering = ["-id"]
    show_full_result_count = False

    @admin.display(description="target")
    def target(self, entry: AuditEntry) -> str:
        return f"{entry.target_type} {entry.target_id}"
