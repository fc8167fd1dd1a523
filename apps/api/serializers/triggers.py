"""Triggering one run, and many."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import (
    AnyField,
    Body,
    PublicIdField,
    Shape,
    StrictBooleanField,
    StrictIntegerField,
    TextOrNumberField,
    WordsField,
)
from holdfast.machines import MACHINES

BATCH_STATUSES = ["PENDING", "PROCESSING", "COMPLETED", "PARTIAL_FAILED", "ABORTED"]
_SCOPES = ["run", "attempt", "global"]


class QueueBody(Body):
    """Which queue, instead of the task's own."""

    name = serializers.CharField()


class IdempotencyOptionsBody(Body):
    """The key as the caller wrote it, before it was hashed."""

    key = TextOrNumberField(
        required=False, help_text="What `ctx.run.idempotencyKey` and lists show."
    )
    scope = serializers.ChoiceField(_SCOPES, required=False)


class DebounceBody(Body):
    """Triggers of one key push one run on, until none came for a while."""

    key = serializers.CharField(trim_whitespace=False, help_text="At most 512 characters.")
    delay = TextOrNumberField(help_text="How long none must come, at least 1 s.")
    mode = serializers.ChoiceField(
        ["leading", "trailing"],
        default="leading",
        help_text="Whether the first trigger's payload counts, or the last one's.",
    )
    maxDelay = TextOrNumberField(
        required=False, help_text="How long it may be pushed on at most; 1 hour."
    )


class RunOptionsBody(Body):
    """How a run is to be executed, whatever starts it; every key is optional."""

    queue = QueueBody(required=False)
    concurrencyKey = TextOrNumberField(required=False)
    payloadType = serializers.CharField(required=False, max_length=128)
    ttl = TextOrNumberField(required=False, help_text="A duration, or seconds; 0 means for ever.")
    tags = WordsField(required=False)
    metadata = AnyField(required=False, help_text="A JSON object, at most 256 KiB.")
    metadataType = serializers.CharField(required=False, max_length=128)
    machine = serializers.ChoiceField(list(MACHINES), required=False)
    maxAttempts = StrictIntegerField(required=False, min_value=1)
    maxDuration = serializers.FloatField(required=False, min_value=1, max_value=2**31 - 1)
    priority = serializers.FloatField(required=False, min_value=-(10**9), max_value=10**9)


class TriggerOptionsBody(RunOptionsBody):
    """How a run is to be executed, and when; every key is optional."""

    payloadSize = StrictIntegerField(required=False, min_value=0)
    idempotencyKey = serializers.CharField(required=False, trim_whitespace=False)
    idempotencyKeyTTL = serializers.CharField(required=False)
    idempotencyKeyOptions = IdempotencyOptionsBody(required=False)
    delay = serializers.CharField(required=False, help_text="30s, 10m, 7d, or an ISO 8601 date.")
    test = StrictBooleanField(required=False)
    lockToVersion = serializers.CharField(required=False)
    parentRunId = PublicIdField("run", required=False)
    resumeParentOnCompletion = StrictBooleanField(required=False)
    debounce = DebounceBody(required=False)
    overlap = serializers.ChoiceField(
        ["allow", "skip", "queue", "cancel"],
        required=False,
        help_text="What becomes of it while a run of its task and concurrency key is open.",
    )
    externalDeploymentId = serializers.CharField(
        required=False, allow_blank=True, help_text="Not supported yet; refused with 422."
    )


class TriggerBody(Body):
    """One run."""

    keeps_null = frozenset({"payload"})

    payload = AnyField(
        required=False,
        allow_null=True,
        help_text="Any JSON value; text in the encoding that `options.payloadType` names, if it "
        "names one other than application/json.",
    )
    options = TriggerOptionsBody(required=False)


class TriggerCallBody(TriggerBody):
    """One of several triggers that travel in one request."""

    task = serializers.CharField(max_length=256)
    headers = AnyField(
        required=False,
        help_text="What a request of its own would have said: `traceparent`, `idempotency-key`, "
        "`idempotency-key-ttl`, `x-trigger-request-idempotency-key`.",
    )


class TriggerCallsBody(Body):
    """Several triggers in one request, each by itself."""

    calls = TriggerCallBody(many=True, allow_empty=False)


class TriggerAnswerShape(Shape):
    """What a request of its own would have been answered."""

    status = serializers.IntegerField(help_text="200, or that of the refusal.")
    headers = serializers.DictField(child=serializers.CharField())
    body = AnyField(help_text="The run, or the refusal.")


class TriggerAnswersShape(Shape):
    """One answer for each call, in their order."""

    answers = TriggerAnswerShape(many=True)


class BatchItemBody(TriggerBody):
    """One line of a batch's items."""

    index = StrictIntegerField(min_value=0)
    task = serializers.CharField(max_length=256)


class TaskBatchItemBody(TriggerBody):
    """One run of a batch that is sent in one request."""

    task = serializers.CharField(max_length=256)


class TaskBatchBody(Body):
    """A batch that is sent in one request."""

    items = TaskBatchItemBody(many=True, allow_empty=False)
    parentRunId = PublicIdField("run", required=False)
    resumeParentOnCompletion = StrictBooleanField(required=False)


class OneTaskBatchBody(Body):
    """A batch of the task that the path names."""

    items = TriggerBody(many=True, allow_empty=False)
    parentRunId = PublicIdField("run", required=False)
    resumeParentOnCompletion = StrictBooleanField(required=False)


class CreateBatchBody(Body):
    """The announcement of a batch, whose items follow."""

    runCount = StrictIntegerField(min_value=1)
    taskIdentifiers = serializers.ListField(
        child=serializers.CharField(max_length=256), required=False
    )
    parentRunId = PublicIdField("run", required=False)
    resumeParentOnCompletion = StrictBooleanField(required=False)
    idempotencyKey = serializers.CharField(required=False, trim_whitespace=False)
    idempotencyKeyOptions = IdempotencyOptionsBody(required=False)


class TriggeredShape(Shape):
    """The run that was started, or found."""

    id = PublicIdField("run", source="run_id")
    isCached = serializers.BooleanField(source="is_cached")
    waitpointId = PublicIdField(
        "waitpoint", source="waitpoint_id", required=False, help_text="What the parent waits for."
    )


class CreatedBatchShape(Shape):
    """The batch that was announced, or found."""

    id = PublicIdField("batch")
    runCount = serializers.IntegerField()
    isCached = serializers.BooleanField()
    sealed = serializers.BooleanField(required=False, help_text="Whether all its items are there.")
    idempotencyKey = serializers.CharField(required=False)
    waitpointId = PublicIdField("waitpoint", required=False)


class BatchOfRunsShape(CreatedBatchShape):
    """A batch and its runs, by index; an item that could not be started has none."""

    batchId = serializers.CharField()
    runs = serializers.ListField(child=serializers.CharField())


class BatchProgressShape(Shape):
    """How far a batch is known."""

    id = PublicIdField("batch")
    itemsAccepted = serializers.IntegerField()
    itemsDeduplicated = serializers.IntegerField()
    sealed = serializers.BooleanField(help_text="Send all items again while this is false.")
    enqueuedCount = serializers.IntegerField(required=False)
    expectedCount = serializers.IntegerField(required=False)


class BatchErrorShape(Shape):
    """An item that could not be started."""

    index = serializers.IntegerField()
    taskIdentifier = serializers.CharField()
    error = serializers.CharField()
    errorCode = serializers.CharField(required=False)


class BatchProcessingShape(Shape):
    """What became of a batch's items."""

    completedAt = serializers.DateTimeField(required=False)
    errors = BatchErrorShape(many=True)  # type: ignore[assignment]  # the wire's name


class BatchShape(Shape):
    """A batch and its runs, by index."""

    id = PublicIdField("batch")
    status = serializers.ChoiceField(BATCH_STATUSES)
    idempotencyKey = serializers.CharField(required=False)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()
    runCount = serializers.IntegerField()
    runs = serializers.ListField(child=serializers.CharField())
    processing = BatchProcessingShape()
