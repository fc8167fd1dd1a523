"""Schedules, the times that come, and what became of those that came."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.api.serializers.base import (
    AnyField,
    Body,
    ObjectField,
    PublicIdField,
    Shape,
    StrictIntegerField,
)
from apps.api.serializers.queues import PlaceShape
from apps.api.serializers.triggers import QueueBody, RunOptionsBody, TriggerOptionsBody
from apps.core.recurrence import describe
from apps.schedules.states import Missed, Origin, Outcome, Overlap
from holdfast import packets

OVERLAPS = [member.value for member in Overlap]
MISSED = [member.value for member in Missed]
OUTCOMES = [member.value for member in Outcome]
ORIGINS = [member.value for member in Origin]
_NULL = "null"
ENVIRONMENT_TYPES = ["PRODUCTION", "STAGING", "PREVIEW", "DEVELOPMENT"]


class ScheduleOptionsBody(RunOptionsBody):
    """How the runs of a schedule are to be executed, as a trigger says it."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        found = super().to_internal_value(data)
        if refused := _OF_TRIGGERS & data.keys():
            problem = "is not for schedules: a trigger alone may say it"
            raise serializers.ValidationError(dict.fromkeys(sorted(refused), problem))
        return found


_OF_TRIGGERS = TriggerOptionsBody().fields.keys() - RunOptionsBody().fields.keys()


class ScheduleBody(Body):
    """When a task is run, exactly one of cron, every and at; and what its runs get."""

    keeps_null = frozenset({"payload"})

    task = serializers.CharField(max_length=255)
    cron = serializers.CharField(
        required=False, help_text="Five fields, or six with seconds first; `L`, `#`, names."
    )
    every = StrictIntegerField(required=False, help_text="An interval in seconds.")
    at = serializers.DateTimeField(required=False, help_text="One time, ISO 8601.")
    timezone = serializers.CharField(required=False, help_text="IANA; `UTC`. For crons.")
    externalId = serializers.CharField(required=False, help_text="Yours, such as a user's id.")
    window = serializers.CharField(
        required=False, help_text="Spreads ticks: `30m` to `24h`, or `0%` to `100%` of the gap."
    )
    jitter = StrictIntegerField(required=False, help_text="Random seconds on top; 0.")
    overlap = serializers.ChoiceField(OVERLAPS, required=False)
    missed = serializers.ChoiceField(MISSED, required=False)
    missedLimit = StrictIntegerField(required=False, help_text="For `missed: all`.")
    payload = AnyField(
        required=False,
        allow_null=True,
        help_text="What its runs find as `payload` in theirs: any JSON value; text in the encoding "
        "that `options.payloadType` names, if it names one other than application/json.",
    )
    options = ScheduleOptionsBody(required=False)


class CreateScheduleBody(ScheduleBody):
    """A schedule, by a key of the caller's own: the same key changes the same schedule."""

    deduplicationKey = serializers.CharField()


class BackfillBody(Body):
    """Which times, both ends included."""

    # `from` is a word of Python's
    vars()["from"] = serializers.DateTimeField()
    to = serializers.DateTimeField()


class GeneratorShape(Shape):
    """What makes the times; an interval or a single time is spelled as a cron, too."""

    type = serializers.ChoiceField(["CRON"])
    expression = serializers.CharField()
    description = serializers.CharField()


class ScheduleEnvironmentShape(Shape):
    """The environment that a schedule is of."""

    id = PublicIdField("env")
    type = serializers.ChoiceField(ENVIRONMENT_TYPES)
    userName = serializers.CharField(required=False)


class ScheduleShape(Shape):
    """A schedule."""

    nullable = frozenset({"nextRun", "nextRunEffectiveAt"})

    id = PublicIdField("sched")
    type = serializers.SerializerMethodField()
    task = serializers.CharField()
    active = serializers.BooleanField(source="is_active")
    deduplicationKey = serializers.CharField(source="deduplication_key", required=False)
    externalId = serializers.CharField(source="external_id", required=False)
    generator = serializers.SerializerMethodField()
    timezone = serializers.CharField()
    window = serializers.SerializerMethodField()
    every = serializers.IntegerField(source="interval_seconds", required=False)
    at = serializers.DateTimeField(source="once_at", required=False)
    jitter = serializers.IntegerField(source="jitter_seconds")
    overlap = serializers.ChoiceField(OVERLAPS)
    missed = serializers.ChoiceField(MISSED)
    missedLimit = serializers.IntegerField(source="missed_limit")
    nextRun = serializers.DateTimeField(
        source="next_at", allow_null=True, help_text="The nominal time, as the payload tells it."
    )
    nextRunEffectiveAt = serializers.DateTimeField(
        source="due_at", allow_null=True, help_text="The same, within window and jitter."
    )
    latestRun = PublicIdField("run", source="latest_run_id", required=False)
    latestRunAt = serializers.DateTimeField(source="latest_at", required=False)
    waitingSince = serializers.DateTimeField(
        source="held_at", required=False, help_text="The tick that waits for the latest run."
    )
    environments = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(["DECLARATIVE", "IMPERATIVE"]))
    def get_type(self, schedule: Any) -> str:
        return str(schedule.kind).upper()

    @extend_schema_field(GeneratorShape)
    def get_generator(self, schedule: Any) -> dict[str, str]:
        return generator(schedule)

    def get_window(self, schedule: Any) -> str | None:
        return schedule.window or None

    @extend_schema_field(ScheduleEnvironmentShape(many=True))
    def get_environments(self, schedule: Any) -> Any:
        environment = schedule.environment
        shown = {
            "id": environment.id,
            "type": environment.type.upper(),
            "userName": environment.owner.name if environment.owner else None,
        }
        return [ScheduleEnvironmentShape(shown).data]


class CarriedOptionsShape(Shape):
    """How the runs of a schedule are executed."""

    queue = serializers.SerializerMethodField()
    concurrencyKey = serializers.CharField(required=False)
    ttl = serializers.SerializerMethodField()
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    metadata = ObjectField(required=False)
    machine = serializers.CharField(required=False)
    maxAttempts = serializers.IntegerField(required=False)
    maxDuration = serializers.IntegerField(required=False)
    priority = serializers.FloatField(required=False)

    @extend_schema_field(QueueBody)
    def get_queue(self, options: Any) -> dict[str, str] | None:
        return {"name": options["queue"]} if "queue" in options else None

    def get_ttl(self, options: Any) -> str | None:
        return f"{options['ttl']}s" if "ttl" in options else None


class ScheduleDetailShape(ScheduleShape):
    """A schedule, what its runs get, and what is wrong with it."""

    payload = serializers.SerializerMethodField()
    options = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField(
        help_text="Why a run would be refused if its time came now, in words."
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        found = super().to_representation(instance)
        if instance.payload == _NULL:  # a payload, and not the absence of one
            found["payload"] = None
        return found

    @extend_schema_field({})
    def get_payload(self, schedule: Any) -> Any:
        return packets.plain(schedule.payload, schedule.payload_type or packets.JSON)

    @extend_schema_field(CarriedOptionsShape)
    def get_options(self, schedule: Any) -> Any:
        return CarriedOptionsShape(schedule.options).data if schedule.options else None

    def get_problem(self, schedule: Any) -> str | None:
        problem: str | None = self.context["problem"]
        return problem


class SchedulePageShape(Shape):
    """One page of schedules, newest first."""

    data = ScheduleShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = PlaceShape()


class UpcomingShape(Shape):
    """A time that is to come."""

    schedule = PublicIdField("sched", source="schedule.id")
    task = serializers.CharField(source="schedule.task")
    timestamp = serializers.DateTimeField(source="at")
    effectiveAt = serializers.DateTimeField(source="due_at")


class UpcomingListShape(Shape):
    """The times that are to come, in order."""

    data = UpcomingShape(many=True)  # type: ignore[assignment]  # the wire's name


class TickShape(Shape):
    """What became of one time; a missed one stands for all up to `until`."""

    timestamp = serializers.DateTimeField(source="at")
    outcome = serializers.ChoiceField(OUTCOMES)
    origin = serializers.ChoiceField(ORIGINS)
    reason = serializers.SerializerMethodField()
    until = serializers.DateTimeField(required=False)
    run = PublicIdField("run", source="run_id", required=False)
    tickedAt = serializers.DateTimeField(source="ticked_at")

    def get_reason(self, tick: Any) -> str | None:
        return tick.reason or None


class TickListShape(Shape):
    """What became of times, the latest first."""

    data = TickShape(many=True)  # type: ignore[assignment]  # the wire's name


class TimezonesShape(Shape):
    """The names of all time zones."""

    timezones = serializers.ListField(child=serializers.CharField())


class RunScheduleShape(Shape):
    """The schedule that started a run."""

    id = PublicIdField("sched")
    externalId = serializers.CharField(source="external_id", required=False)
    deduplicationKey = serializers.CharField(source="deduplication_key", required=False)
    generator = serializers.SerializerMethodField()

    @extend_schema_field(GeneratorShape)
    def get_generator(self, schedule: Any) -> dict[str, str]:
        return generator(schedule)


def generator(schedule: Any) -> dict[str, str]:
    """What makes the times of a schedule, in the one form that the clients know."""
    if schedule.cron is not None:
        told = schedule.cron, describe(schedule.cron)
    elif schedule.interval_seconds is not None:
        seconds = schedule.interval_seconds
        told = f"@every {seconds}s", f"Every {seconds} seconds" if seconds > 1 else "Every second"
    else:
        moment = f"{schedule.once_at:%Y-%m-%dT%H:%M:%SZ}"
        told = f"@once {moment}", f"Once, at {moment}"
    return {"type": "CRON", "expression": told[0], "description": told[1]}
