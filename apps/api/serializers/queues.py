"""Queues and their load."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import PublicIdField, Shape


class QueueConcurrencyShape(Shape):
    """A queue's limit: what holds, what the code says, what somebody overrode it with."""

    nullable = frozenset({"current", "base", "override", "overriddenAt", "overriddenBy"})

    current = serializers.IntegerField(allow_null=True)
    base = serializers.IntegerField(allow_null=True)
    override = serializers.IntegerField(allow_null=True)
    overriddenAt = serializers.DateTimeField(allow_null=True)
    overriddenBy = serializers.CharField(allow_null=True)


class QueueShape(Shape):
    """A queue."""

    nullable = frozenset({"concurrencyLimit"})

    id = PublicIdField("queue")
    name = serializers.CharField()
    type = serializers.ChoiceField(["task", "custom"])
    running = serializers.IntegerField()
    queued = serializers.IntegerField()
    paused = serializers.BooleanField()
    concurrencyLimit = serializers.IntegerField(allow_null=True)
    concurrency = QueueConcurrencyShape()


class PlaceShape(Shape):
    """Where in a list a page is."""

    currentPage = serializers.IntegerField()
    totalPages = serializers.IntegerField()
    count = serializers.IntegerField()


class QueuePageShape(Shape):
    """One page of queues, by name."""

    data = QueueShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = PlaceShape()
