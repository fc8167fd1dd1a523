"""Tokens that runs wait for."""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers

from apps.api.serializers.base import AnyField, Body, PublicIdField, Shape, WordsField
from apps.api.serializers.runs import CursorsShape

TOKEN_STATUSES = ["WAITING", "COMPLETED", "TIMED_OUT"]


class CreateTokenBody(Body):
    """A token to wait for; every key is optional."""

    timeout = serializers.CharField(
        required=False,
        help_text="When it times out: a duration (30s, 10m, 7d) or an ISO 8601 date; else 10m.",
    )
    idempotencyKey = serializers.CharField(
        required=False, trim_whitespace=False, help_text="The same key answers with the same token."
    )
    idempotencyKeyTTL = serializers.CharField(
        required=False, help_text="How long the key is remembered; else 1h."
    )
    tags = WordsField(required=False, help_text="One, or up to ten.")


class CompleteTokenBody(Body):
    """What a token is completed with."""

    keeps_null = frozenset({"data"})

    data = AnyField(  # type: ignore[assignment]  # the wire's name
        required=False,
        allow_null=True,
        help_text="Any JSON value; what waits for the token gets it.",
    )
    dataType = serializers.CharField(
        required=False,
        max_length=128,
        help_text="For `data` that is a packet encoded already, as text: its media type.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "dataType" in attrs and not isinstance(attrs.get("data"), str):
            raise serializers.ValidationError({"data": ["must be text, as dataType is given"]})
        return attrs


class CreatedTokenShape(Shape):
    """A token, where it is called back, and what a browser may complete it with."""

    id = PublicIdField("waitpoint")
    isCached = serializers.BooleanField()
    url = serializers.CharField()
    publicAccessToken = serializers.CharField()


class TokenItemShape(Shape):
    """A token as lists show it."""

    id = PublicIdField("waitpoint")
    url = serializers.CharField()
    status = serializers.ChoiceField(TOKEN_STATUSES)
    idempotencyKey = serializers.CharField(source="idempotency_key", required=False)
    idempotencyKeyExpiresAt = serializers.DateTimeField(
        source="idempotency_expires_at", required=False
    )
    tags = serializers.ListField(child=serializers.CharField())
    timeoutAt = serializers.DateTimeField(source="due_at", required=False)
    completedAfter = serializers.DateTimeField(
        source="due_at", required=False, help_text="The same as `timeoutAt`."
    )
    completedAt = serializers.DateTimeField(source="completed_at", required=False)
    createdAt = serializers.DateTimeField(source="created_at")


class TokenDetailShape(TokenItemShape):
    """A token, and what it was completed with."""

    output = serializers.CharField(required=False, help_text="The packet's text.")
    outputType = serializers.CharField(source="output_type", required=False)
    outputIsError = serializers.BooleanField(required=False)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown = super().to_representation(instance)
        if instance.completed_at is None:
            return {name: shown[name] for name in shown if not name.startswith("output")}
        if instance.error is not None:
            shown |= {"output": json.dumps(instance.error), "outputType": "application/json"}
        return shown | {"outputIsError": instance.error is not None}


class TokenPageShape(Shape):
    """One page of tokens, newest first."""

    data = TokenItemShape(many=True)  # type: ignore[assignment]  # the wire's name
    pagination = CursorsShape()


class TimeWaitBody(Body):
    """Until when a run waits."""

    date = serializers.DateTimeField()
    idempotencyKey = serializers.CharField(required=False, trim_whitespace=False)
    idempotencyKeyTTL = serializers.CharField(required=False)


class MadeWaitpointShape(Shape):
    """A waitpoint that was made."""

    id = PublicIdField("waitpoint")


class TimeWaitShape(Shape):
    """The waitpoint of a time."""

    waitUntil = serializers.DateTimeField()
    waitpoint = MadeWaitpointShape()
