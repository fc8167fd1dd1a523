"""Who is calling, signing in from a terminal, and the keys of a project's environments."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast._wire import Response
from holdfast.client.results import AuthorizationCode, EnvironmentAccess, Identity, read
from holdfast.client.surface import Group, operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class Account(Group[Transport]):
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


def _token(response: Response) -> str | None:
    token = response.json().get("token")
    return str(token["token"]) if token else None
