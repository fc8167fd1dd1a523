"""Versions: registered from a developer's machine, or shipped as an archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast._wire import Response
from holdfast.client.results import (
    Deployment,
    DeploymentHandle,
    Page,
    RegisteredVersion,
    build,
    read,
    read_page,
)
from holdfast.client.surface import Group, operation, paged

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class Deployments(Group[Transport]):
    """``client.deployments``."""

    @operation
    def create(
        self,
        *,
        content_hash: str,
        python_version: str,
        sdk_version: str,
        git: Mapping[str, Any] | None = None,
    ) -> Flow[DeploymentHandle]:
        """Announce a deployment; its archive is uploaded next."""
        body = {
            "contentHash": content_hash,
            "pythonVersion": python_version,
            "sdkVersion": sdk_version,
        }
        return self._send(
            Call(
                method="POST",
                path="/api/v1/deployments",
                body={**body, "git": dict(git)} if git else body,
                parse=read(DeploymentHandle),
            )
        )

    @operation
    def upload(self, deployment: DeploymentHandle, archive: bytes) -> Flow[None]:
        """Send the archive, a .tar.gz."""
        base = self._settings.api_url
        url = urljoin(f"{base}/", deployment.upload_url)
        is_ours = url.startswith(f"{base}/")
        return self._send(
            Call(
                method="PUT",
                path=url.removeprefix(base) if is_ours else url,
                content=archive,
                content_type="application/gzip",
                parse=lambda _response: None,
                auth="key" if is_ours else "none",
                is_absolute=not is_ours,
                has_request_key=is_ours,
            )
        )

    @operation
    def finalize(self, deployment_id: str, *, promote: bool = True) -> Flow[None]:
        """Say that the archive is complete: the server installs and indexes it."""
        return self._send(
            Call(
                method="POST",
                path=f"/api/v1/deployments/{quote(deployment_id, safe='')}/finalize",
                body={"promote": promote},
                parse=lambda _response: None,
            )
        )

    @operation
    def retrieve(self, deployment_id: str) -> Flow[Deployment]:
        """A deployment with its log, and its error when it failed."""
        return self._send(
            Call(
                method="GET",
                path=f"/api/v1/deployments/{quote(deployment_id, safe='')}",
                parse=read(Deployment),
            )
        )

    @paged
    def list(self, *, size: int | None = None) -> Call[Page[Deployment]]:
        """Deployments, newest first."""
        return Call(
            method="GET",
            path="/api/v1/deployments",
            query={"page[size]": size},
            parse=read_page(Deployment),
        )

    @operation
    def cancel(self, deployment_id: str) -> Flow[None]:
        """Stop a deployment that is not done; nothing changes for runs.

        Raises:
            ConflictError: It is done.
        """
        return self._send(
            Call(
                method="POST",
                path=f"/api/v1/deployments/{quote(deployment_id, safe='')}/cancel",
                parse=lambda _response: None,
            )
        )

    @operation
    def current(self) -> Flow[Deployment]:
        """The deployment whose version runs now."""
        return self._send(
            Call(method="GET", path="/api/v1/deployments/current", parse=read(Deployment))
        )

    @operation
    def promote(self, version: str) -> Flow[Deployment | None]:
        """Make a version the current one: new runs execute it."""
        return self._send(
            Call(
                method="POST",
                path=f"/api/v1/deployments/{quote(version, safe='')}/promote",
                parse=_promoted,
            )
        )

    @operation
    def register(self, project: str, manifest: Mapping[str, Any]) -> Flow[RegisteredVersion]:
        """Make a development version of the tasks that a manifest lists."""
        metadata = {
            "packageVersion": manifest.get("sdkVersion", ""),
            "cliPackageVersion": manifest.get("sdkVersion", ""),
            "runtime": "python",
            "runtimeVersion": manifest.get("pythonVersion", ""),
            "sourceFiles": [],
            **manifest,
        }
        return self._send(
            Call(
                method="POST",
                path=f"/api/v1/projects/{quote(project, safe='')}/background-workers",
                body={"localOnly": True, "engine": "V2", "metadata": metadata},
                parse=read(RegisteredVersion),
            )
        )


def _promoted(response: Response) -> Deployment | None:
    """Servers may answer the whole deployment, or only that it is done."""
    body = response.json() if response.content else None
    is_whole = isinstance(body, dict) and {"id", "status"} <= body.keys()
    return build(Deployment, body) if is_whole else None
