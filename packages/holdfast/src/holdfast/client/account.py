"""Who is calling, signing in from a terminal, one's own tokens and sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast._wire import Response
from holdfast.client.personal import PersonalGroup, path
from holdfast.client.results import AuthorizationCode, EnvironmentAccess, Identity, Result, read
from holdfast.client.surface import operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person(Result):
    """Somebody, as others see them."""

    user_id: str
    email: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken(Result):
    """A personal access token that is not revoked, by its end.

    Attributes:
        id: Its id, ``token_…``.
        name: What it is for.
        obfuscated_token: Its beginning and its end.
        created_at: When it was made.
        expires_at: When it ends by itself; None for never.
        used_at: When it was used last, noted once a minute at most.
    """

    id: str
    name: str
    obfuscated_token: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedAccessToken(Result):
    """A new personal access token, in full this once."""

    id: str
    obfuscated_token: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession(Result):
    """A browser in which one is signed in."""

    id: int
    user_agent: str = ""
    ip: str = ""
    created_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSessions(Result):
    """In how many browsers one was signed out."""

    ended: int


class Account(PersonalGroup[Transport]):
    """``client.account``: calls that need a personal access token, or none."""

    @operation
    def whoami(self, *, project: str | None = None) -> Flow[Identity]:
        """The person that the access token belongs to."""
        return self._send(
            Call(
                method="GET",
                path="/api/v2/whoami",
                query={"projectRef": project},
                parse=read(Identity),
                auth="person",
            )
        )

    @operation
    def authorize(self) -> Flow[AuthorizationCode]:
        """Begin a device login."""
        return self._send(
            Call(
                method="POST",
                path="/api/v1/authorization-code",
                parse=read(AuthorizationCode),
                auth="none",
            )
        )

    @operation
    def redeem(self, authorization_code: str) -> Flow[str | None]:
        """The access token of a device login, or None until it has been approved."""
        return self._send(
            Call(
                method="POST",
                path="/api/v1/token",
                body={"authorizationCode": authorization_code},
                parse=_token,
                auth="none",
            )
        )

    @operation
    def rename(self, name: str) -> Flow[Person]:
        """Change how one is called; nothing for no name."""
        return self._ask(Person, "PATCH", path("account"), {"name": name})

    @operation
    def environment(self, project: str, environment: str) -> Flow[EnvironmentAccess]:
        """The secret key of an environment: dev, staging, prod or preview."""
        return self._send(
            Call(
                method="GET",
                path=f"/api/v1/projects/{quote(project, safe='')}/{quote(environment, safe='')}",
                parse=read(EnvironmentAccess),
                auth="person",
            )
        )


class AccessTokens(PersonalGroup[Transport]):
    """``client.access_tokens``: one's own."""

    @operation
    def create(self, name: str, *, expires_in: str | None = None) -> Flow[CreatedAccessToken]:
        """Make a token that acts as oneself.

        Args:
            name: What it is for.
            expires_in: A duration such as ``90d``; it never expires when None.

        Returns:
            The token, in full this once.
        """
        body = {"name": name, "expirationTime": expires_in}
        return self._ask(CreatedAccessToken, "POST", path("account", "tokens"), body)

    @operation
    def revoke(self, token: str) -> Flow[None]:
        """End a token at once; `token` is its id."""
        return self._tell("DELETE", path("account", "tokens", token))

    @operation
    def list(self) -> Flow[list[AccessToken]]:
        """Those that are not revoked, newest first."""
        return self._ask(list[AccessToken], "GET", path("account", "tokens"))


class Sessions(PersonalGroup[Transport]):
    """``client.sessions``: the browsers in which one is signed in."""

    @operation
    def end(self, session: int) -> Flow[None]:
        """Sign out of one browser."""
        return self._tell("DELETE", path("account", "sessions", str(session)))

    @operation
    def end_all(self) -> Flow[EndedSessions]:
        """Sign out of every browser; tokens go on."""
        return self._ask(EndedSessions, "DELETE", path("account", "sessions"))

    @operation
    def list(self) -> Flow[list[BrowserSession]]:
        """Where one is signed in, the latest first."""
        return self._ask(list[BrowserSession], "GET", path("account", "sessions"))


def _token(response: Response) -> str | None:
    token = response.json().get("token")
    return str(token["token"]) if token else None
