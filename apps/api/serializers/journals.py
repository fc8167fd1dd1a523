"""Journals of durable runs on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from apps.api.serializers.base import Body, ObjectField, Shape


class ForkBody(Body):
    """Where a fork begins, and on which version."""

    version = serializers.CharField(required=False)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": serializers.CharField(max_length=255)}


class EntryShape(Shape):
    """One entry: what was called where, and what came of it."""

    seq = serializers.IntegerField()
    position = serializers.CharField()
    kind = serializers.CharField()
    name = serializers.CharField()
    after = serializers.IntegerField()
    digest = serializers.CharField(required=False)
    ok = serializers.BooleanField()
    output = serializers.CharField(required=False)
    outputType = serializers.CharField(source="output_type")
    error = ObjectField(required=False)
    attempts = serializers.IntegerField()
    startedMs = serializers.IntegerField(source="started_ms")
    tookMs = serializers.IntegerField(source="took_ms")


class JournalPageShape(Shape):
    """A part of a journal, oldest first."""

    data = EntryShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = ObjectField()


def page_of(entries: Sequence[Any], *, size: int) -> dict[str, Any]:
    """A page; the cursor of the next is the `seq` of its last entry."""
    pagination = {"next": str(entries[-1].seq)} if len(entries) == size else {}
    return {"data": EntryShape(entries, many=True).data, "pagination": pagination}
