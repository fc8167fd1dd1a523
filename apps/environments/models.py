"""Environments, their secret keys and their variables."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from apps.core.ids import new_id, public_id
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.models import Organization
from apps.orgs.policy import LEAST_WEIGHT, MOST_WEIGHT
from apps.projects.models import Project

_TYPES = [(kind.value, kind.value.capitalize()) for kind in EnvironmentType]


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def within(self, scope: Scope) -> EnvironmentQuerySet:
        return self.filter(id=scope.environment_id, organization_id=scope.organization_id)

    def active(self) -> EnvironmentQuerySet:
        return self.filter(archived_at=None, project__archived_at=None)

    def standard(self) -> EnvironmentQuerySet:
        return self.filter(owner=None, parent=None)


class Environment(models.Model):
    """Where a project's tasks run."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Also the project's, but written here so that the claim reaches it without another join.
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="environments"
    )
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="environments")
    type = models.CharField(max_length=16, choices=_TYPES)
    slug = models.SlugField(max_length=16)
    name = models.CharField(max_length=200)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,  # a person who goes must not take the history of runs along
        null=True,
        blank=True,
        related_name="development_environments",
    )
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="branches"
    )
    branch = models.CharField(max_length=200, null=True, blank=True)
    concurrency_limit = models.PositiveIntegerField(
        default=100, help_text="Runs at once, before the burst factor."
    )
    burst_factor = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(1.0)],
        help_text="How far over the limit several queues together may go.",
    )
    weight = models.FloatField(
        default=1.0,
        db_default=1.0,
        validators=[MinValueValidator(LEAST_WEIGHT), MaxValueValidator(MOST_WEIGHT)],
        help_text="Its share of what starts, beside its organization's other environments.",
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "type"],
                condition=Q(owner=None, parent=None),
                name="environment_is_unique_per_type_in_its_project",
            ),
            models.UniqueConstraint(
                fields=["project", "owner"],
                condition=Q(owner__isnull=False, parent=None),
                name="environment_for_development_is_unique_per_member",
            ),
            models.UniqueConstraint(
                fields=["parent", "branch"],
                condition=Q(archived_at=None, parent__isnull=False),
                name="environment_branch_is_unique_while_active",
            ),
            models.CheckConstraint(
                condition=Q(parent=None, branch=None)
                | Q(parent__isnull=False, branch__isnull=False),
                name="environment_has_a_parent_iff_it_is_a_branch",
            ),
            models.CheckConstraint(
                condition=Q(type=EnvironmentType.DEVELOPMENT.value, owner__isnull=False)
                | (~Q(type=EnvironmentType.DEVELOPMENT.value) & Q(owner=None)),
                name="environment_has_an_owner_iff_it_is_for_development",
            ),
            models.CheckConstraint(
                condition=Q(type__in=[kind.value for kind in EnvironmentType]),
                name="environment_type_is_known",
            ),
            models.CheckConstraint(
                condition=Q(burst_factor__gte=1.0), name="environment_burst_factor_is_at_least_one"
            ),
            models.CheckConstraint(
                condition=Q(weight__gte=LEAST_WEIGHT, weight__lte=MOST_WEIGHT),
                name="environment_weight_is_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.slug})"

    @property
    def public_id(self) -> str:
        return public_id("env", self.id)

    @property
    def key_environment_id(self) -> UUID:
        """Whose key opens this environment: a branch has its parent's."""
        return self.parent_id or self.id


class EnvironmentKeyQuerySet(models.QuerySet["EnvironmentKey"]):
    def usable(self, now: datetime) -> EnvironmentKeyQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)

    def main(self) -> EnvironmentKeyQuerySet:
        return self.filter(name="")

    def current(self) -> EnvironmentKeyQuerySet:
        return self.main().filter(expires_at=None, revoked_at=None)


class EnvironmentKey(models.Model):
    """A secret key: a digest for look-up, and sealed because it also signs public tokens.

    The main one has no name, and is the one that the command line fetches and that is replaced;
    the others were made for one purpose each, and are revoked.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100, blank=True)
    digest = models.BinaryField(max_length=32, unique=True)
    sealed = models.BinaryField()
    hint = models.CharField(max_length=32)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = EnvironmentKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(name="", expires_at=None, revoked_at=None),
                name="environment_has_one_current_key",
            ),
        ]

    def __str__(self) -> str:
        return self.hint

    @property
    def seal_context(self) -> str:
        """Binds the sealed secret to this row, so that it opens nowhere else."""
        return f"environment-key:{self.id}"


class Variable(models.Model):
    """A customer's environment variable; always sealed, and redacted in lists when secret."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="variables")
    name = models.CharField(max_length=255)
    sealed = models.BinaryField()
    is_secret = models.BooleanField("secret", default=False)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="variable_name_is_unique_in_its_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def seal_context(self) -> str:
        """Binds the sealed value to this row, so that it opens nowhere else."""
        return f"variable:{self.id}"
