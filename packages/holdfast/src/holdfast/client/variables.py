"""The environment variables that a project's tasks see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import Variable, read
from holdfast.client.surface import Group, operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class Variables(Group[Transport]):
    """``client.variables``: `project` is a ref, `environment` dev, staging, prod or preview."""

    @operation
    def retrieve(self, project: str, environment: str, name: str) -> Flow[Variable]:
        """One variable."""
        return self._send(
            Call(
                method="GET",
                path=_path(project, environment, name),
                parse=read(Variable),
                auth="any",
            )
        )

    @operation
    def create(
        self, project: str, environment: str, name: str, value: str, *, is_secret: bool = False
    ) -> Flow[None]:
        """Add a variable, or replace it."""
        body = {"name": name, "value": value, "isSecret": is_secret}
        return self._change("POST", _path(project, environment), body)

    @operation
    def update(self, project: str, environment: str, name: str, value: str) -> Flow[None]:
        """Change the value of a variable that exists."""
        return self._change("PUT", _path(project, environment, name), {"value": value})

    @operation
    def delete(self, project: str, environment: str, name: str) -> Flow[None]:
        """Remove a variable."""
        return self._change("DELETE", _path(project, environment, name), None)

    @operation
    def import_all(
        self,
        project: str,
        environment: str,
        variables: Mapping[str, str],
        *,
        override: bool = False,
        is_secret: bool = False,
    ) -> Flow[None]:
        """Add many variables at once; those that exist are kept unless `override`."""
        body = {"variables": dict(variables), "override": override, "isSecret": is_secret}
        return self._change("POST", _path(project, environment, "import"), body)

    @operation
    def list(self, project: str, environment: str) -> Flow[list[Variable]]:
        """All variables; the values of secret ones are not shown."""
        return self._send(
            Call(
                method="GET",
                path=_path(project, environment),
                parse=read(list[Variable]),
                auth="any",
            )
        )

    def _change(self, method: str, path: str, body: Any) -> Flow[None]:
        return self._send(
            Call(method=method, path=path, body=body, parse=lambda _response: None, auth="any")
        )


def _path(project: str, environment: str, *rest: str) -> str:
    parts = [quote(part, safe="") for part in (project, "envvars", environment, *rest)]
    return "/api/v1/projects/" + "/".join(parts)
