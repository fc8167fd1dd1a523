"""Runs, as lists and pages of one show them."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.api import blobs
from apps.api.serializers.base import (
    AnyField,
    Body,
    ObjectField,
    PublicIdField,
    Shape,
    StorableField,
    StrictBooleanField,
    StrictIntegerField,
    TextOrNumberField,
    WordsField,
)
from apps.api.serializers.schedules import RunScheduleShape
from apps.runs.states import FINAL, RunStatus
from holdfast import packets
from holdfast.machines import MACHINES

STATUSES = [status.value for status in RunStatus]
# What clients that name no x-trigger-api-version know.
_LEGACY = {
    RunStatus.PENDING_VERSION: "WAITING_FOR_DEPLOY",
    RunStatus.DEQUEUED: "EXECUTING",
    RunStatus.WAITING: "FROZEN",
}
ALL_STATUSES = [*STATUSES, "WAITING_FOR_DEPLOY", "FROZEN"]
_QUEUED = {RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION}
_EXECUTING = {RunStatus.EXECUTING, RunStatus.DEQUEUED}
_STORED = "application/store"


class StatusField(serializers.ChoiceField):
    """A status; older clients are told the older names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=ALL_STATUSES, **options)

    def to_representation(self, value: str) -> str:
        name = _LEGACY.get(RunStatus(value)) if self.context.get("legacy") else None
        return name or str(RunStatus(value).value)


class StatusIsField(serializers.BooleanField):
    """Whether the status is one of these."""

    def __init__(self, statuses: Set[str], **options: Any) -> None:
        super().__init__(source="status", **options)
        self.statuses = statuses

    def to_representation(self, value: Any) -> bool:
        return value in self.statuses


class EnvironmentShape(Shape):
    """The environment that a run belongs to."""

    id = PublicIdField("env")
    name = serializers.CharField()
    user = serializers.CharField(required=False)


class RunErrorShape(Shape):
    """Why a run failed."""

    message = serializers.CharField()
    name = serializers.CharField(required=False)
    stackTrace = serializers.CharField(required=False)
    causes = serializers.ListField(child=ObjectField(), required=False)


class AttemptShape(Shape):
    """One try of a run."""

    number = serializers.IntegerField()
    status = serializers.CharField()
    startedAt = serializers.DateTimeField(source="started_at")
    finishedAt = serializers.DateTimeField(source="finished_at", required=False)
    durationMs = serializers.IntegerField(source="executed_ms")
    error = serializers.SerializerMethodField()

    @extend_schema_field(RunErrorShape)
    def get_error(self, attempt: Any) -> dict[str, Any] | None:
        return error_for_people(attempt.error)


class RunShape(Shape):
    """What every form of a run has."""

    id = PublicIdField("run")
    status = StatusField()
    taskIdentifier = serializers.CharField(source="task")
    idempotencyKey = serializers.CharField(source="idempotency_key", required=False)
    version = serializers.CharField(source="version_number", required=False)
    isQueued = StatusIsField(_QUEUED)
    isExecuting = StatusIsField(_EXECUTING)
    isWaiting = StatusIsField({RunStatus.WAITING})
    isCompleted = StatusIsField(FINAL)
    isSuccess = StatusIsField({RunStatus.COMPLETED})
    isFailed = StatusIsField(FINAL - {RunStatus.COMPLETED})
    isCancelled = StatusIsField({RunStatus.CANCELED})
    isTest = serializers.BooleanField(source="is_test")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    startedAt = serializers.DateTimeField(source="started_at", required=False)
    finishedAt = serializers.DateTimeField(source="finished_at", required=False)
    delayedUntil = serializers.DateTimeField(source="delayed_until", required=False)
    expiredAt = serializers.DateTimeField(source="expired_at", required=False)
    ttl = serializers.SerializerMethodField()
    tags = serializers.ListField(child=serializers.CharField())
    costInCents = serializers.SerializerMethodField()
    baseCostInCents = serializers.SerializerMethodField()
    durationMs = serializers.IntegerField(source="executed_ms")
    metadata = ObjectField(required=False)

    def get_ttl(self, run: Any) -> str | None:
        return f"{run.ttl_seconds}s" if run.ttl_seconds else None

    def get_costInCents(self, run: Any) -> float:
        return 0

    def get_baseCostInCents(self, run: Any) -> float:
        return 0


class RunItemShape(RunShape):
    """A run of a list."""

    env = serializers.SerializerMethodField()

    @extend_schema_field(EnvironmentShape)
    def get_env(self, run: Any) -> dict[str, Any]:
        return EnvironmentShape(self.context["environments"][run.environment_id]).data


class RelatedRunShape(RunShape):
    """A run's relative."""

    depth = serializers.IntegerField()
    triggerFunction = serializers.ChoiceField(
        ["trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait"],
        source="trigger_function",
    )
    batchId = PublicIdField("batch", source="batch_id", required=False)


class RelatedRunsShape(Shape):
    """A run's family."""

    root = RelatedRunShape(required=False)
    parent = RelatedRunShape(required=False)
    children = RelatedRunShape(many=True, required=False)


class RunDetailShape(RelatedRunShape):
    """One run with its payload, its output and its family."""

    payload = serializers.SerializerMethodField()
    payloadPresignedUrl = serializers.SerializerMethodField()
    output = serializers.SerializerMethodField()
    outputPresignedUrl = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    relatedRuns = serializers.SerializerMethodField()
    attemptCount = serializers.IntegerField(source="attempt_count")
    attempts = serializers.SerializerMethodField()
    queue = serializers.SerializerMethodField()
    machine = serializers.CharField()
    priority = serializers.FloatField(source="priority_seconds")
    maxAttempts = serializers.IntegerField(source="max_attempts", required=False)
    maxDuration = serializers.IntegerField(source="max_duration_seconds", required=False)
    concurrencyKey = serializers.CharField(source="concurrency_key", required=False)
    replayOf = PublicIdField("run", source="replay_of_id", required=False)
    schedule = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField(help_text="Why the run is in this state, in words.")

    def get_payload(self, run: Any) -> Any:
        return shown(run.payload, run.payload_type)

    def get_payloadPresignedUrl(self, run: Any) -> str | None:
        return self._presigned(run, run.payload, run.payload_type)

    def get_output(self, run: Any) -> Any:
        return shown(run.output, run.output_type)

    def get_outputPresignedUrl(self, run: Any) -> str | None:
        return self._presigned(run, run.output, run.output_type)

    @extend_schema_field(RunErrorShape)
    def get_error(self, run: Any) -> dict[str, Any] | None:
        return error_for_people(run.error)

    @extend_schema_field(RelatedRunsShape)
    def get_relatedRuns(self, run: Any) -> dict[str, Any]:
        return RelatedRunsShape(self.context["related"], context=self.context).data

    @extend_schema_field(AttemptShape(many=True))
    def get_attempts(self, run: Any) -> Any:
        return AttemptShape(self.context["attempts"], many=True).data

    def get_reason(self, run: Any) -> str | None:
        return self.context["reason"] or None

    @extend_schema_field(RunScheduleShape)
    def get_schedule(self, run: Any) -> dict[str, Any] | None:
        schedule = self.context.get("schedule")
        return RunScheduleShape(schedule).data if schedule else None

    def get_queue(self, run: Any) -> dict[str, str]:
        return {"name": run.queue}

    def _presigned(self, run: Any, data: str | None, kind: str) -> str | None:
        if kind != _STORED or not data:
            return None
        return blobs.download_url(run.environment_id, data, base=self.context["base"])


class RunListQuery(Body):
    """Which runs, and how many."""


class RescheduleBody(Body):
    """When the run is to start instead."""

    delay = serializers.CharField(help_text="30s, 10m, 7d, or an ISO 8601 date.")


class TagsBody(Body):
    """Tags to add."""

    tags = WordsField()


class MetadataOperationBody(Body):
    """One change of a run's metadata."""

    keeps_null = frozenset({"value"})

    type = serializers.ChoiceField(["set", "append", "remove", "delete", "increment", "update"])
    key = serializers.CharField(required=False)
    value = StorableField(required=False, allow_null=True)


class MetadataBody(Body):
    """What a run's metadata is replaced by, or the operations on it, in order."""

    metadata = ObjectField(required=False)
    operations = MetadataOperationBody(many=True, required=False)
    parentOperations = MetadataOperationBody(many=True, required=False)
    rootOperations = MetadataOperationBody(many=True, required=False)


class ReplayBody(Body):
    """What is to differ from the original."""

    keeps_null = frozenset({"payload"})

    payload = AnyField(required=False, allow_null=True)
    payloadType = serializers.CharField(required=False)
    metadata = ObjectField(required=False)
    tags = WordsField(required=False)
    queue = AnyField(required=False)
    concurrencyKey = TextOrNumberField(required=False)
    machine = serializers.ChoiceField(list(MACHINES), required=False)
    version = serializers.CharField(required=False)
    delay = serializers.CharField(required=False)
    ttl = TextOrNumberField(required=False)
    idempotencyKey = serializers.CharField(required=False, trim_whitespace=False)
    idempotencyKeyTTL = serializers.CharField(required=False)
    maxAttempts = StrictIntegerField(required=False, min_value=1)
    maxDuration = serializers.FloatField(required=False, min_value=1, max_value=2**31 - 1)
    priority = serializers.FloatField(required=False)
    test = StrictBooleanField(required=False)


class ResetKeyBody(Body):
    """Whose key is forgotten."""

    taskIdentifier = serializers.CharField()


class IdShape(Shape):
    """The id of what was acted on."""

    id = serializers.CharField()


class MessageShape(Shape):
    """What was done, in words."""

    message = serializers.CharField()


class MetadataShape(Shape):
    """A run's metadata."""

    metadata = ObjectField()


class EventShape(Shape):
    """One move of a run."""

    id = serializers.CharField()
    kind = serializers.CharField()
    status = StatusField()
    attempt = serializers.IntegerField()
    at = serializers.DateTimeField()
    detail = ObjectField(required=False)


class EventsShape(Shape):
    """A run's timeline, oldest first."""

    events = EventShape(many=True)


class UsageShape(Shape):
    """What an execution used."""

    durationMs = serializers.IntegerField()


class RunResultShape(Shape):
    """How a run ended; the output is encoded as `outputType` says."""

    ok = serializers.BooleanField()
    id = serializers.CharField()
    taskIdentifier = serializers.CharField(required=False)
    output = serializers.CharField(required=False)
    outputType = serializers.CharField(required=False)
    error = ObjectField(required=False)
    usage = UsageShape(required=False)


class ResultsPlaceShape(Shape):
    """Where the next page of results begins; absent after the last."""

    next = serializers.IntegerField(required=False)


class BatchResultsShape(Shape):
    """How the items of a batch ended, by index; those that have not are left out."""

    id = serializers.CharField()
    items = RunResultShape(many=True)
    pagination = ResultsPlaceShape(required=False)


class CursorsShape(Shape):
    """Where the neighbouring pages begin."""

    next = serializers.CharField(required=False)
    previous = serializers.CharField(required=False)


class RunPageShape(Shape):
    """One page of runs, newest first."""

    data = RunItemShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = CursorsShape()


def shown(data: str | None, kind: str) -> Any:
    """A packet as a JSON value; one in object storage has an address instead."""
    if data is None or kind == _STORED:
        return None
    try:
        return packets.plain(data, kind)
    except packets.PacketError:
        return data


def error_for_people(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """A TaskRunError as name, message and stack trace, whatever its type."""
    if error is None:
        return None
    found = {
        "message": error.get("message") or error.get("raw") or error.get("code") or "",
        "name": error.get("name") or error.get("code"),
        "stackTrace": error.get("stackTrace"),
        "causes": error.get("causes"),
    }
    found["message"] = str(found["message"])
    return {name: value for name, value in found.items() if value is not None}


def result_of(run: Any, identifier: str) -> dict[str, Any]:
    """How a final run ended, in the contract's form."""
    common = {
        "id": identifier,
        "taskIdentifier": run.task,
        "usage": {"durationMs": run.executed_ms},
    }
    if run.status == RunStatus.COMPLETED:
        output = {} if run.output is None else {"output": run.output}
        return {"ok": True, **common, **output, "outputType": run.output_type}
    error = run.error or {
        "type": "INTERNAL_ERROR",
        "code": "TASK_RUN_CANCELLED" if run.status == RunStatus.CANCELED else "UNSPECIFIED_ERROR",
        "message": run.status_reason or f"The run is {run.status}",
    }
    return {"ok": False, **common, "error": error}
