"""Queues and their load, and the concurrency limits that they set."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import (
    Body,
    PublicIdField,
    Shape,
    StrictIntegerField,
    TextOrNumberField,
)
from apps.deployments.operations.queues import HIGHEST_LIMIT

TYPES = ("id", "task", "custom")


class QueueConcurrencyShape(Shape):
    """A queue's limit: what holds, what the code says, what somebody overrode it with."""

    nullable = frozenset({"current", "base", "override", "overriddenAt", "overriddenBy"})

    current = serializers.IntegerField(allow_null=True)
    base = serializers.IntegerField(allow_null=True)
    override = serializers.IntegerField(allow_null=True)
    overriddenAt = serializers.DateTimeField(allow_null=True)
    overriddenBy = serializers.CharField(allow_null=True)


class QueueRateShape(Shape):
    """So many starts per so many seconds; without a burst counted in windows."""

    limit = serializers.IntegerField()
    period = serializers.FloatField(help_text="Seconds.")
    burst = serializers.IntegerField(required=False)


class QueueShape(Shape):
    """A queue."""

    nullable = frozenset({"concurrencyLimit"})

    id = PublicIdField("queue")
    name = serializers.CharField()
    type = serializers.ChoiceField(["task", "custom"])
    running = serializers.IntegerField()
    queued = serializers.IntegerField(help_text="Counted up to 10,000.")
    paused = serializers.BooleanField()
    concurrencyLimit = serializers.IntegerField(
        allow_null=True, help_text="Runs at once: of each concurrency key, if there are keys."
    )
    concurrency = QueueConcurrencyShape()
    totalLimit = serializers.IntegerField(
        required=False, help_text="Runs at once, whatever their concurrency keys."
    )
    rate = QueueRateShape(required=False)
    keyRate = QueueRateShape(required=False)
    maxQueued = serializers.IntegerField(required=False)
    weight = serializers.FloatField(required=False)
    heldUntil = serializers.DateTimeField(
        required=False, help_text="When its rate lets the next run start."
    )


class PlaceShape(Shape):
    """Where in a list a page is."""

    currentPage = serializers.IntegerField()
    totalPages = serializers.IntegerField()
    count = serializers.IntegerField()


class QueuePageShape(Shape):
    """One page of queues, by name."""

    data = QueueShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = PlaceShape()


class QueueTargetBody(Body):
    """What the path names: an id, a task, or a queue of its own name."""

    type = serializers.ChoiceField(TYPES, default="id")


class QueuePauseBody(QueueTargetBody):
    """Whether it is to pause or to resume."""

    action = serializers.ChoiceField(["pause", "resume"])


class QueueOverrideBody(QueueTargetBody):
    """The limit instead of the one in code: a number, or a share of the environment's."""

    concurrencyLimit = StrictIntegerField(required=False, min_value=0, max_value=HIGHEST_LIMIT)
    percent = serializers.FloatField(required=False, min_value=0, max_value=100)
    totalLimit = StrictIntegerField(required=False, min_value=0, max_value=HIGHEST_LIMIT)


class LimitBoundShape(Shape):
    """One bound: what holds, what the code says, what somebody overrode it with."""

    nullable = frozenset({"current", "base", "override", "overriddenAt"})

    current = serializers.IntegerField(allow_null=True)
    base = serializers.IntegerField(allow_null=True)
    override = serializers.IntegerField(allow_null=True)
    overriddenAt = serializers.DateTimeField(allow_null=True)


class ConcurrencyLimitShape(Shape):
    """The limits of a queue: of each concurrency key, and of all together."""

    id = PublicIdField("climit")
    name = serializers.CharField()
    perKey = LimitBoundShape()
    total = LimitBoundShape()
    running = serializers.IntegerField()
    queued = serializers.IntegerField()
    paused = serializers.BooleanField()


class ConcurrencyLimitPageShape(Shape):
    """One page of concurrency limits, by name."""

    data = ConcurrencyLimitShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = PlaceShape()


class KeyBoundShape(Shape):
    """The bound of one key: the queue's own, or an override for a while."""

    nullable = frozenset({"current", "base", "override", "expiresAt"})

    current = serializers.IntegerField(allow_null=True)
    base = serializers.IntegerField(allow_null=True)
    override = serializers.IntegerField(allow_null=True)
    expiresAt = serializers.DateTimeField(allow_null=True)


class LimitOfKeyShape(Shape):
    """The limit of one concurrency key."""

    name = serializers.CharField()
    concurrencyKey = serializers.CharField()
    perKey = KeyBoundShape()
    running = serializers.IntegerField()
    paused = serializers.BooleanField()


class LimitPauseBody(Body):
    """Whether it is to pause or to resume."""

    action = serializers.ChoiceField(["pause", "resume"])


class LimitOverrideBody(Body):
    """New bounds; with a concurrency key, a bound of that key for a while."""

    perKey = StrictIntegerField(required=False, min_value=0, max_value=HIGHEST_LIMIT)
    total = StrictIntegerField(required=False, min_value=0, max_value=HIGHEST_LIMIT)
    concurrencyKey = TextOrNumberField(required=False)
    ttl = TextOrNumberField(required=False, help_text="A duration, or seconds; 7 days.")


class LimitResetBody(Body):
    """Which key's override is to go; without one, the limit's own."""

    concurrencyKey = TextOrNumberField(required=False)
