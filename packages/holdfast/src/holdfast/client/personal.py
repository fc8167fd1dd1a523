"""What the groups share that need a personal access token: paths, and calls by a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import read
from holdfast.client.surface import Group

T = TypeVar("T")
Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class PersonalGroup(Group[Transport]):
    """Operations that a person may do, and a key may not."""

    def _ask(
        self,
        shape: type[T],
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
    ) -> Flow[T]:
        return self._send(
            Call(
                method=method,
                path=path,
                query=query or {},
                body=body,
                parse=read(shape),
                auth="person",
            )
        )

    def _tell(self, method: str, path: str, body: Any = None) -> Flow[None]:
        return self._send(
            Call(method=method, path=path, body=body, parse=lambda _response: None, auth="person")
        )


def path(*parts: str) -> str:
    """The path of the API with these parts, each of which may hold any character."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)
