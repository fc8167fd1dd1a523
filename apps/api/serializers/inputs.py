"""What is sent to runs, and what they wait to be sent."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Body, PublicIdField, Shape, WordsField
from apps.api.serializers.waitpoints import CompleteTokenBody


class SendInputBody(CompleteTokenBody):
    """One item of an input."""


class SentInputShape(Shape):
    """An item that was taken."""

    ok = serializers.BooleanField()
    seq = serializers.IntegerField(help_text="Its place among the items of this input, from 0.")
    isCached = serializers.BooleanField(
        source="is_cached", help_text="Whether the same `X-Part-Id` was sent before."
    )


class InputWaitBody(Body):
    """Which input a run waits for."""

    streamId = serializers.CharField(max_length=255, help_text="The input's name.")
    timeout = serializers.CharField(
        required=False, help_text="A duration (30s, 7d) or an ISO 8601 date; else for ever."
    )
    idempotencyKey = serializers.CharField(required=False, trim_whitespace=False)
    idempotencyKeyTTL = serializers.CharField(required=False)
    tags = WordsField(required=False, help_text="One, or up to ten.")
    lastSeqNum = serializers.IntegerField(
        required=False, min_value=-1, max_value=2**31 - 2, help_text="The item before; else none."
    )


class InputWaitShape(Shape):
    """A waitpoint of an input."""

    waitpointId = PublicIdField("waitpoint", source="waitpoint_id")
    isCached = serializers.BooleanField(source="is_cached")
