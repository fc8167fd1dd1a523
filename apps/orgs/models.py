"""Organizations, members, invites and the audit log."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from apps.core.ids import floor, new_id, public_id
from apps.orgs.actors import OrganizationScope
from apps.orgs.policy import LEAST_WEIGHT, MOST_WEIGHT
from apps.orgs.roles import Role

_ROLES = [(role.value, role.value.capitalize()) for role in Role]


class Organization(models.Model):
    """Who owns projects; what one has, another never sees."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    concurrency_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Runs of all environments at once; empty for no limit."
    )
    weight = models.FloatField(
        default=1.0,
        db_default=1.0,
        validators=[MinValueValidator(LEAST_WEIGHT), MaxValueValidator(MOST_WEIGHT)],
        help_text="Its share of what starts, beside other organizations.",
    )
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(weight__gte=LEAST_WEIGHT, weight__lte=MOST_WEIGHT),
                name="organization_weight_is_in_bounds",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        return public_id("org", self.id)


class MembershipQuerySet(models.QuerySet["Membership"]):
    def within(self, scope: OrganizationScope) -> MembershipQuerySet:
        return self.filter(organization_id=scope.organization_id)

    def active(self) -> MembershipQuerySet:
        return self.filter(organization__deleted_at=None)

    def owners(self) -> MembershipQuerySet:
        return self.filter(role=Role.OWNER)


class Membership(models.Model):
    """A person's place in an organization."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=16, choices=_ROLES)
    created_at = models.DateTimeField()

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user"], name="membership_is_unique_per_person"
            ),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in Role]),
                name="membership_role_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.organization}"


class InviteQuerySet(models.QuerySet["Invite"]):
    def within(self, scope: OrganizationScope) -> InviteQuerySet:
        return self.filter(organization_id=scope.organization_id)

    def pending(self) -> InviteQuerySet:
        return self.filter(accepted_at=None, revoked_at=None)

    def open(self, now: datetime) -> InviteQuerySet:
        return self.pending().filter(expires_at__gt=now)


class Invite(models.Model):
    """An offer, sent by mail, to become a member."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invites")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=_ROLES)
    digest = models.BinaryField(max_length=32, unique=True)
    sealed = models.BinaryField(editable=False)  # so that the job which mails it needs only an id
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="sent_invites",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InviteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                models.F("organization"),
                Lower("email"),
                condition=Q(accepted_at=None, revoked_at=None),
                name="invite_is_pending_once_per_address",
            ),
            models.CheckConstraint(
                condition=Q(accepted_at=None) | Q(revoked_at=None),
                name="invite_is_not_accepted_and_revoked",
            ),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in Role]), name="invite_role_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization}"

    @property
    def seal_context(self) -> str:
        """Binds the sealed token to this row, so that it opens nowhere else."""
        return f"invite:{self.id}"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def within(self, scope: OrganizationScope) -> AuditEntryQuerySet:
        return self.filter(organization_id=scope.organization_id)

    def between(self, since: datetime | None, until: datetime | None) -> AuditEntryQuerySet:
        wanted = Q()
        if since is not None:
            wanted &= Q(id__gte=floor(since))
        if until is not None:
            wanted &= Q(id__lt=floor(until))
        return self.filter(wanted)


class AuditEntry(models.Model):
    """One change that a person, a key or the system caused; never altered afterwards."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="audit_entries"
    )
    # Not a foreign key: environments live above this app, and the log outlives them.
    environment_id = models.UUIDField(null=True, blank=True)
    actor_kind = models.CharField(max_length=16)
    actor_id = models.UUIDField(null=True, blank=True)
    action = models.CharField(max_length=64)
    target_type = models.CharField(max_length=32)
    target_id = models.CharField(max_length=200)
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField()

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            # list_audit_entries: newest first
            models.Index(fields=["organization", "-id"], name="audit_entry_newest_first"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(actor_kind__in=["user", "key", "public_token", "system"]),
                name="audit_entry_actor_kind_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_type} {self.target_id}"
