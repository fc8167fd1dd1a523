"""The outbox: runs that are to be started, written in the transactions that want them."""

from __future__ import annotations

from uuid import UUID, uuid4

from django.db import models
from django.utils import timezone


class OutboxEntry(models.Model):
    """A run that is to be started once; sent, given up, or waiting."""

    id = models.BigAutoField(primary_key=True)
    key = models.UUIDField(default=uuid4, unique=True, editable=False)
    task = models.CharField(max_length=255)
    payload = models.TextField(null=True, blank=True)
    payload_type = models.CharField(max_length=128)
    options = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    available_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="")
    sent_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    run_id = models.CharField(max_length=64, blank=True, default="")

    objects: models.Manager[OutboxEntry] = models.Manager()

    class Meta:
        app_label = "holdfast"
        verbose_name_plural = "outbox entries"
        indexes = [
            models.Index(
                fields=["available_at", "id"],
                condition=models.Q(sent_at=None, failed_at=None),
                name="holdfast_outbox_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.key}"

    @property
    def request_key(self) -> str:
        """What the server knows this one call by, however often it is made."""
        key: UUID = self.key
        return f"outbox:{key}"
