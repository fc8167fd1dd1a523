"""People and their tokens for the staff; no digest is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.models import AuthorizationCode, PersonalToken, SignInLink, User
from apps.core import clock
from apps.core.admin import ReadOnly

if TYPE_CHECKING:
    _CreationForm = AdminUserCreationForm[User]
    _UserAdmin = DjangoUserAdmin[User]
else:
    _CreationForm = AdminUserCreationForm
    _UserAdmin = DjangoUserAdmin


class UserCreationForm(_CreationForm):
    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class UserAdmin(_UserAdmin):
    add_form = UserCreationForm
    list_display = ["email", "name", "is_active", "is_staff", "created_at", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    actions = None
    readonly_fields = ["id", "created_at", "last_login"]
    fieldsets = [
        (None, {"fields": ["id", "email", "name", "password"]}),
        (
            "May",
            {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]},
        ),
        ("When", {"fields": ["created_at", "last_login"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["email", "name", "usable_password", "password1", "password2"]}),
    ]

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # people are made inactive, so that what they did keeps its author


@admin.register(PersonalToken)
class PersonalTokenAdmin(ReadOnly[PersonalToken]):
    list_display = ["name", "hint", "user", "created_at", "used_at", "expires_at", "revoked_at"]
    list_filter = [
        ("revoked_at", admin.EmptyFieldListFilter),
        ("expires_at", admin.EmptyFieldListFilter),
        "created_at",
        "used_at",
    ]
    list_select_related = ["user"]
    search_fields = ["name", "hint", "user__email"]
    date_hierarchy = "created_at"
    exclude = ["digest"]
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_personaltoken")

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[PersonalToken]) -> None:
        revoked = chosen.filter(revoked_at=None).update(revoked_at=clock.now())
        self.message_user(request, f"{revoked} tokens work no more.")


@admin.register(AuthorizationCode)
class AuthorizationCodeAdmin(ReadOnly[AuthorizationCode]):
    list_display = ["hint", "client", "user", "created_at", "approved_at", "redeemed_at"]
    list_filter = [
        ("approved_at", admin.EmptyFieldListFilter),
        ("redeemed_at", admin.EmptyFieldListFilter),
        "created_at",
    ]
    list_select_related = ["user"]
    search_fields = ["hint", "client", "user__email"]
    exclude = ["digest", "challenge"]


@admin.register(SignInLink)
class SignInLinkAdmin(ReadOnly[SignInLink]):
    list_display = ["email", "ip", "created_at", "sent_at", "used_at", "expires_at"]
    list_filter = [
        ("sent_at", admin.EmptyFieldListFilter),
        ("used_at", admin.EmptyFieldListFilter),
        "created_at",
    ]
    search_fields = ["email"]
    exclude = ["digest", "sealed", "browser"]
