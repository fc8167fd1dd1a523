"""Environments for the staff; no digest, no sealed value and no secret is ever shown."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from apps.core import clock
from apps.core.admin import MadeByOperations, ReadOnly
from apps.core.facts import publish
from apps.environments.facts import EnvironmentLimitsChanged
from apps.environments.models import Environment, EnvironmentKey, Variable
from apps.environments.operations.keys import regenerate_key
from apps.environments.scope import Scope
from apps.orgs.actors import Actor
from apps.orgs.admin import record_change
from apps.orgs.roles import Role

_LIMITS = frozenset({"concurrency_limit", "burst_factor"})


@admin.register(Environment)
class EnvironmentAdmin(MadeByOperations[Environment]):
    list_display = [
        "name",
        "type",
        "project",
        "organization",
        "owner",
        "concurrency_limit",
        "burst_factor",
        "weight",
        "paused_at",
        "archived_at",
    ]
    list_filter = [
        "type",
        ("branch", admin.EmptyFieldListFilter),
        ("paused_at", admin.EmptyFieldListFilter),
        ("archived_at", admin.EmptyFieldListFilter),
    ]
    list_select_related = ["project", "organization", "owner"]
    search_fields = ["name", "branch", "project__name", "project__ref", "organization__name"]
    # What is left to edit: the limits and the weight.
    readonly_fields = [
        "id",
        "organization",
        "project",
        "type",
        "slug",
        "name",
        "owner",
        "parent",
        "branch",
        "paused_at",
        "archived_at",
        "created_at",
    ]

    actions = ["replace_key"]

    def has_replace_key_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("environments.change_environmentkey")

    @admin.action(
        description="Replace the main key (the old one works for another 24 hours)",
        permissions=["replace_key"],
    )
    def replace_key(self, request: HttpRequest, chosen: QuerySet[Environment]) -> None:
        for environment in chosen:
            actor = Actor(kind="user", id=request.user.pk, role=Role.OWNER)
            scope = Scope(
                actor=actor,
                organization_id=environment.organization_id,
                project_id=environment.project_id,
                environment_id=environment.pk,
            )
            regenerate_key(scope, now=clock.now())
        self.message_user(request, "Replaced. The members see the new key on their page of keys.")

    def save_model(
        self,
        request: HttpRequest,
        obj: Environment,
        form: ModelForm[Environment],
        change: bool,
    ) -> None:
        super().save_model(request, obj, form, change)
        record_change(request, form, organization_id=obj.organization_id, environment_id=obj.pk)
        if not _LIMITS.isdisjoint(form.changed_data):
            publish(EnvironmentLimitsChanged(environment_id=obj.pk, at=clock.now()))


@admin.register(EnvironmentKey)
class EnvironmentKeyAdmin(ReadOnly[EnvironmentKey]):
    list_display = ["hint", "environment", "project", "created_at", "expires_at", "revoked_at"]
    list_filter = [
        "environment__type",
        ("expires_at", admin.EmptyFieldListFilter),
        ("revoked_at", admin.EmptyFieldListFilter),
    ]
    list_select_related = ["environment__project"]
    search_fields = ["hint", "environment__name", "environment__project__ref"]
    exclude = ["digest", "sealed"]

    @admin.display(description="project", ordering="environment__project__name")
    def project(self, key: EnvironmentKey) -> str:
        return str(key.environment.project)


@admin.register(Variable)
class VariableAdmin(ReadOnly[Variable]):
    list_display = ["name", "is_secret", "environment", "project", "version", "updated_at"]
    list_filter = ["is_secret", "environment__type", "updated_at"]
    list_select_related = ["environment__project"]
    search_fields = ["name", "environment__name", "environment__project__ref"]
    exclude = ["sealed"]

    @admin.display(description="project", ordering="environment__project__name")
    def project(self, variable: Variable) -> str:
        return str(variable.environment.project)
