"""People, and signing in from a terminal."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Body, Shape


class CodeBody(Body):
    """A login, about to begin; both keys are for clients that prove who redeems the code."""

    codeChallenge = serializers.CharField(required=False, min_length=43, max_length=43)
    codeChallengeMethod = serializers.ChoiceField(["S256"], required=False)


class CodeShape(Shape):
    """A login in progress: open `url`, approve, redeem the code."""

    authorizationCode = serializers.CharField()
    url = serializers.CharField()


class RedeemBody(Body):
    """A code to trade for a personal token."""

    authorizationCode = serializers.CharField(max_length=256)
    codeVerifier = serializers.CharField(required=False, max_length=256)


class PersonalTokenShape(Shape):
    """A new personal token, shown once."""

    token = serializers.CharField()
    obfuscatedToken = serializers.CharField()


class RedeemedShape(Shape):
    """The token, or null while nobody has approved the code."""

    nullable = frozenset({"token"})

    token = PersonalTokenShape(allow_null=True)


class IdentityProjectShape(Shape):
    """A project of the person, when one was asked about."""

    name = serializers.CharField()
    url = serializers.CharField()
    orgTitle = serializers.CharField()


class IdentityShape(Shape):
    """The person that a personal token belongs to."""

    userId = serializers.CharField()
    email = serializers.EmailField()
    dashboardUrl = serializers.CharField()
    project = IdentityProjectShape(required=False)


class ProjectShape(Shape):
    """A project."""

    id = serializers.CharField()
    externalRef = serializers.CharField()
    name = serializers.CharField()
    slug = serializers.CharField()
    createdAt = serializers.DateTimeField()
