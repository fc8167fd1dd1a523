"""Schedules, what became of each of their times, and which version's declarations are in force."""

from __future__ import annotations

from uuid import UUID

from django.db import models
from django.db.models import Q

from apps.core.ids import new_id, public_id
from apps.core.recurrence import Cron, Every, Once, Recurrence, describe, describe_interval
from apps.schedules import policy
from apps.schedules.policy import Described, Rule
from apps.schedules.states import Missed, Origin, Outcome, Overlap, ScheduleKind
from holdfast.packets import JSON


def _choices(kind: type) -> list[tuple[str, str]]:
    return [(member.value, member.value) for member in kind]  # type: ignore[attr-defined]


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def within(self, environment_id: UUID) -> ScheduleQuerySet:
        return self.filter(environment_id=environment_id)

    def active(self) -> ScheduleQuerySet:
        return self.filter(is_active=True)


class Schedule(models.Model):
    """When a task of an environment is run by itself.

    `next_at` is the nominal time that comes next, `due_at` when it is due; both are None while
    nothing comes. `held_at` is a tick that waits for the latest run to end.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="schedules",
        db_index=False,
    )  # fmt: skip
    kind = models.TextField(choices=_choices(ScheduleKind))
    task = models.TextField()
    deduplication_key = models.TextField()
    external_id = models.TextField(null=True, blank=True)

    cron = models.TextField(null=True, blank=True)
    timezone = models.TextField(default="UTC")
    interval_seconds = models.PositiveIntegerField(null=True, blank=True)
    anchor_at = models.DateTimeField(null=True, blank=True)
    once_at = models.DateTimeField(null=True, blank=True)
    window = models.TextField(blank=True, default="")
    phase = models.PositiveIntegerField()
    jitter_seconds = models.PositiveIntegerField(default=0)

    overlap = models.TextField(choices=_choices(Overlap), default=Overlap.ALLOW.value)
    missed = models.TextField(choices=_choices(Missed), default=Missed.ONE.value)
    missed_limit = models.PositiveSmallIntegerField(default=1)

    # what its runs get besides its times; see carried.py
    payload = models.TextField(null=True, blank=True)
    payload_type = models.TextField(null=True, blank=True)
    options = models.JSONField(null=True, blank=True)

    is_active = models.BooleanField(default=True)
    next_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    held_at = models.DateTimeField(null=True, blank=True)
    latest_at = models.DateTimeField(null=True, blank=True)
    latest_run_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "deduplication_key"],
                name="schedule_deduplication_key_is_unique_in_environment",
            ),
            models.CheckConstraint(
                condition=Q(cron__isnull=False, interval_seconds=None, once_at=None)
                | Q(cron=None, interval_seconds__gt=0, anchor_at__isnull=False, once_at=None)
                | Q(cron=None, interval_seconds=None, once_at__isnull=False),
                name="schedule_has_one_recurrence",
            ),
            models.CheckConstraint(
                condition=Q(due_at=None, next_at=None)
                | Q(due_at__isnull=False, next_at__isnull=False),
                name="schedule_is_due_iff_it_has_a_next_time",
            ),
            models.CheckConstraint(
                condition=Q(is_active=True) | Q(due_at=None, held_at=None),
                name="schedule_ticks_only_while_active",
            ),
        ]
        indexes = [
            # tick_schedules: claim_due
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="schedule_due"),
            # release_held
            models.Index(
                fields=["held_at"], condition=Q(held_at__isnull=False), name="schedule_held"
            ),
            # list_schedules
            models.Index(fields=["environment", "-id"], name="schedule_newest"),
        ]

    def __str__(self) -> str:
        return public_id(policy.PREFIX, self.pk)

    @property
    def recurrence(self) -> Recurrence:
        if self.cron is not None:
            return Cron(expression=self.cron, timezone=self.timezone)
        if self.interval_seconds is not None and self.anchor_at is not None:
            return Every(seconds=self.interval_seconds, anchor=self.anchor_at)
        if self.once_at is None:
            raise ValueError(f"{self} has no recurrence")  # the table's constraint forbids it
        return Once(at=self.once_at)

    @property
    def in_words(self) -> str:
        """When it ticks, as a person would say it."""
        if self.cron is not None:
            return describe(self.cron)
        if self.interval_seconds is not None:
            return describe_interval(self.interval_seconds)
        return "Once"

    @property
    def rule(self) -> Rule:
        return Rule(
            recurrence=self.recurrence,
            seed=self.pk,
            phase=policy.as_fraction(self.phase),
            window=self.window,
            jitter_seconds=self.jitter_seconds,
            missed=Missed(self.missed),
            missed_limit=self.missed_limit,
        )

    @property
    def described(self) -> Described:
        return Described(
            id=self.pk,
            kind=self.kind,
            timezone=self.timezone,
            external_id=self.external_id,
            recurrence=self.recurrence,
            payload=self.payload,
            payload_type=self.payload_type or JSON,
        )


class Tick(models.Model):
    """What became of one nominal time of a schedule; a missed one stands for all up to `until`."""

    pk = models.CompositePrimaryKey("schedule_id", "at")
    # not a foreign key: what happened outlives a schedule that a version no longer declares
    schedule_id = models.UUIDField()
    at = models.DateTimeField()
    environment_id = models.UUIDField()
    outcome = models.TextField(choices=_choices(Outcome))
    origin = models.TextField(choices=_choices(Origin), default=Origin.TICK.value)
    reason = models.TextField(blank=True, default="")
    until = models.DateTimeField(null=True, blank=True)
    run_id = models.UUIDField(null=True, blank=True)
    ticked_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome=Outcome.TRIGGERED.value, run_id__isnull=False)
                | (~Q(outcome=Outcome.TRIGGERED.value) & Q(run_id=None)),
                name="tick_has_a_run_iff_it_triggered",
            )
        ]
        indexes = [
            # the schedule of a run, and the doctor's look at runs without a tick
            models.Index(fields=["run_id"], condition=Q(run_id__isnull=False), name="tick_of_run"),
            # forget_ticks
            models.Index(fields=["ticked_at"], name="tick_oldest"),
        ]

    def __str__(self) -> str:
        return f"{public_id(policy.PREFIX, self.schedule_id)} at {self.at.isoformat()}"


class Declaration(models.Model):
    """Which version's schedules are in force in an environment."""

    environment = models.OneToOneField(
        "environments.Environment", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    version_id = models.UUIDField()
    declared_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.environment_id}: {self.version_id}"
