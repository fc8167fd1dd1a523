"""Environments, their keys and their variables."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.api.serializers.base import (
    Body,
    ObjectField,
    PublicIdField,
    Shape,
    StrictBooleanField,
    StrictIntegerField,
    StrictNumberField,
)
from apps.environments.policy import CONCURRENCY_AT_MOST
from apps.orgs.policy import LEAST_WEIGHT, MOST_WEIGHT

BRANCHED = "preview"


class VariableBody(Body):
    """A new variable."""

    name = serializers.CharField()
    value = serializers.CharField(allow_blank=True, trim_whitespace=False)
    isSecret = StrictBooleanField(required=False)


class VariableValueBody(Body):
    """A variable's new value."""

    value = serializers.CharField(allow_blank=True, trim_whitespace=False)


class VariablesBody(Body):
    """Many variables, all or none; existing ones change only with `override`."""

    variables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False)
    )
    override = StrictBooleanField(required=False)
    isSecret = StrictBooleanField(required=False)
    parentVariables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False), required=False
    )


class VariableShape(Shape):
    """A variable; the value of a secret is not shown."""

    name = serializers.CharField()
    value = serializers.CharField(allow_blank=True)
    isSecret = serializers.BooleanField()


class SuccessShape(Shape):
    """It was done."""

    success = serializers.BooleanField()


class RuntimeVariablesShape(Shape):
    """Everything that a process of this environment gets, in clear."""

    variables = ObjectField()


class EnvironmentAccessShape(Shape):
    """An environment's key, and the address to use it at."""

    apiKey = serializers.CharField()
    name = serializers.CharField()
    apiUrl = serializers.CharField()
    projectId = serializers.CharField()


class EnvironmentStateShape(Shape):
    """Whether runs start in this environment."""

    success = serializers.BooleanField()
    paused = serializers.BooleanField()


class ProjectEnvironmentShape(Shape):
    """An environment, or a branch of one."""

    id = PublicIdField("env")
    name = serializers.CharField()
    slug = serializers.CharField(help_text="dev, staging, prod or preview, as paths spell it.")
    type = serializers.CharField()
    branch = serializers.CharField(required=False)
    paused = serializers.SerializerMethodField()
    concurrencyLimit = serializers.IntegerField(source="concurrency_limit")
    burstFactor = serializers.FloatField(source="burst_factor")
    weight = serializers.FloatField(
        help_text="Its share of what starts, beside its organization's other environments."
    )
    createdAt = serializers.DateTimeField(source="created_at")

    def get_paused(self, environment: Any) -> bool:
        """Whether no run starts here."""
        return environment.paused_at is not None


class EnvironmentLimitsBody(Body):
    """How many runs an environment executes at once, its share beside others, or both."""

    concurrencyLimit = StrictIntegerField(
        required=False, min_value=0, max_value=CONCURRENCY_AT_MOST
    )
    weight = StrictNumberField(required=False, min_value=LEAST_WEIGHT, max_value=MOST_WEIGHT)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of them at least."""
        if not attrs:
            raise serializers.ValidationError("say a concurrencyLimit or a weight")
        return attrs


class LevelShape(Shape):
    """How many slots of a limit are held; without a limit nothing is bounded."""

    used = serializers.IntegerField()
    limit = serializers.IntegerField(required=False)


class ConcurrencyShape(Shape):
    """The limits above those of queues, as they stand; `environment` has its limit with the burst.

    `base` is what one queue alone may use of the environment.
    """

    organization = LevelShape()
    environment = LevelShape()
    base = serializers.IntegerField()
    burstFactor = serializers.FloatField(source="burst_factor")


class BranchBody(Body):
    """A branch of an environment."""

    env = serializers.ChoiceField(
        ["preview", "dev", "development"], default=BRANCHED, help_text="Whose branch it is."
    )
    branch = serializers.CharField(max_length=300)


class ApiKeyShape(Shape):
    """A key by its end. The main one has no name, and expires only once it was replaced."""

    id = PublicIdField("key")
    name = serializers.CharField(allow_blank=True)
    obfuscatedKey = serializers.CharField(source="hint")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at", required=False)


class ApiKeyBody(Body):
    """One more key, for one program."""

    name = serializers.CharField()
    expirationTime = serializers.CharField(
        required=False, help_text="A duration such as 90d; it never expires when absent."
    )


class CreatedApiKeyShape(Shape):
    """A new key, in full this once."""

    id = PublicIdField("key", source="key_id")
    apiKey = serializers.CharField(source="secret")
    obfuscatedKey = serializers.CharField(source="hint")


class NewKeyShape(Shape):
    """An environment's new key; the old one works for another day."""

    apiKey = serializers.CharField()


class TokenClaimsBody(Body):
    """What a public token is to grant."""

    scopes = serializers.ListField(child=serializers.CharField(), required=False)
    otu = StrictBooleanField(required=False)


class TokenBody(Body):
    """A public token, as it is wished."""

    claims = TokenClaimsBody(required=False)
    expirationTime = serializers.CharField(
        required=False, help_text="A duration such as 15m; 15 minutes when absent."
    )


class TokenShape(Shape):
    """A signed public token."""

    token = serializers.CharField()


class ClaimsShape(Shape):
    """What a public token must claim; the holder of the secret key signs it."""

    sub = serializers.CharField()
    pub = serializers.BooleanField()
