"""People, and signing in from a terminal."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Body, PublicIdField, Shape


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


class PersonBody(Body):
    """What somebody is called from now on; empty for no name."""

    name = serializers.CharField(allow_blank=True)


class PersonShape(Shape):
    """Somebody, as others see them."""

    userId = serializers.CharField(source="public_id")
    email = serializers.EmailField()
    name = serializers.CharField()


class AccessTokenShape(Shape):
    """A personal token that is not revoked; its secret is not kept."""

    id = PublicIdField("token")
    name = serializers.CharField()
    obfuscatedToken = serializers.CharField(source="hint")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at", required=False)
    usedAt = serializers.DateTimeField(
        source="used_at", required=False, help_text="Noted once a minute at most."
    )


class AccessTokenBody(Body):
    """A new personal token."""

    name = serializers.CharField()
    expirationTime = serializers.CharField(
        required=False, help_text="A duration such as 90d; it never expires when absent."
    )


class NewAccessTokenShape(Shape):
    """A new personal token; the secret is shown this once."""

    id = PublicIdField("token", source="token_id")
    token = serializers.CharField(source="secret")
    obfuscatedToken = serializers.CharField(source="hint")


class SessionShape(Shape):
    """A browser in which somebody is signed in."""

    id = serializers.IntegerField()
    userAgent = serializers.CharField(source="user_agent")
    ip = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")
    lastSeenAt = serializers.DateTimeField(source="last_seen_at")


class EndedSessionsShape(Shape):
    """In how many browsers somebody was signed out."""

    ended = serializers.IntegerField()
