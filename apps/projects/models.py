"""Projects."""

from __future__ import annotations

from django.db import models

from apps.core.ids import new_id
from apps.orgs.actors import OrganizationScope
from apps.orgs.models import Organization


class ProjectQuerySet(models.QuerySet["Project"]):
    def within(self, scope: OrganizationScope) -> ProjectQuerySet:
        return self.filter(organization_id=scope.organization_id)

    def active(self) -> ProjectQuerySet:
        return self.filter(archived_at=None)


class Project(models.Model):
    """What an organization builds: one code base with its environments."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="projects"
    )
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60)
    ref = models.CharField(max_length=40, unique=True, editable=False)
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=models.Q(archived_at=None),
                name="project_slug_is_unique_in_its_organization",
            ),
        ]

    def __str__(self) -> str:
        return self.name
