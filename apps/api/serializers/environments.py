"""Environments, their keys and their variables."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Body, ObjectField, Shape, StrictBooleanField


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
