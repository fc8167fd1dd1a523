"""The client of the Holdfast API, async and sync, written once.

    async with HoldfastClient() as client:
        handle = await client.trigger("resize", {"url": url}, tags=["user_1"])
        run = await client.runs.wait(handle.id)

The address and the credentials come from arguments or from ``HOLDFAST_API_URL``,
``HOLDFAST_SECRET_KEY`` and ``HOLDFAST_ACCESS_TOKEN``.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from holdfast._http import (
    DEFAULT_API_URL,
    AsyncTransport,
    Flow,
    Retry,
    Settings,
    SyncTransport,
)
from holdfast.client import triggers
from holdfast.client.account import AccessTokens, Account, Sessions
from holdfast.client.bulk import BulkActions
from holdfast.client.deployments import Deployments
from holdfast.client.environments import Branches, Environments, Keys
from holdfast.client.members import AuditLog, Invites, Members
from holdfast.client.organizations import Organizations, Projects
from holdfast.client.packets import Packets
from holdfast.client.queues import Queues
from holdfast.client.results import BatchHandle, RunHandle
from holdfast.client.runs import Batches, IdempotencyKeys, Runs
from holdfast.client.schedules import Schedules
from holdfast.client.surface import Group, operation
from holdfast.client.tokens import Tokens
from holdfast.client.triggers import BatchItem, TriggerOptions
from holdfast.client.variables import Variables

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)

__all__ = ["BatchItem", "HoldfastClient", "Retry", "SyncHoldfastClient", "TriggerOptions"]


class ClientOptions(TypedDict, total=False):
    """How a client is made; every key is optional.

    Attributes:
        api_url: The address of the server.
        secret_key: The secret key of an environment.
        access_token: A personal access token.
        branch: The preview branch to act in.
        project: With an access token and no key: the project to act in, ``proj_…``.
        environment: And its environment: dev, staging, prod or preview.
        retry: How long a call is tried.
        timeout_seconds: How long one try may take.
        source: What calls: ``sdk`` or ``cli``.
    """

    api_url: str | None
    secret_key: str | None
    access_token: str | None
    branch: str | None
    project: str | None
    environment: str | None
    retry: Retry
    timeout_seconds: float
    source: str


class _Client(Group[Transport]):
    """What the async and the sync client share, which is everything but waiting."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        super().__init__(settings, transport)
        self.runs: Runs[Transport] = Runs(settings, transport)
        self.batches: Batches[Transport] = Batches(settings, transport)
        self.bulk: BulkActions[Transport] = BulkActions(settings, transport)
        self.schedules: Schedules[Transport] = Schedules(settings, transport)
        self.idempotency_keys: IdempotencyKeys[Transport] = IdempotencyKeys(settings, transport)
        self.packets: Packets[Transport] = Packets(settings, transport)
        self.queues: Queues[Transport] = Queues(settings, transport)
        self.tokens: Tokens[Transport] = Tokens(settings, transport)
        self.variables: Variables[Transport] = Variables(settings, transport)
        self.deployments: Deployments[Transport] = Deployments(settings, transport)
        self.account: Account[Transport] = Account(settings, transport)
        self.access_tokens: AccessTokens[Transport] = AccessTokens(settings, transport)
        self.sessions: Sessions[Transport] = Sessions(settings, transport)
        self.organizations: Organizations[Transport] = Organizations(settings, transport)
        self.projects: Projects[Transport] = Projects(settings, transport)
        self.members: Members[Transport] = Members(settings, transport)
        self.invites: Invites[Transport] = Invites(settings, transport)
        self.audit: AuditLog[Transport] = AuditLog(settings, transport)
        self.environments: Environments[Transport] = Environments(settings, transport)
        self.branches: Branches[Transport] = Branches(settings, transport)
        self.keys: Keys[Transport] = Keys(settings, transport)

    @property
    def api_url(self) -> str:
        """The address of the server."""
        return self._settings.api_url

    @operation
    def trigger(
        self, task: str, payload: Any = None, **options: Unpack[TriggerOptions]
    ) -> Flow[RunHandle]:
        """Start a run of a task."""
        return triggers.trigger(self._settings, task, payload, options)

    @operation
    def batch_trigger(
        self, items: Collection[BatchItem], **options: Unpack[TriggerOptions]
    ) -> Flow[BatchHandle]:
        """Start many runs, up to 10,000 at once.

        Args:
            items: The runs. They travel portion by portion; a collection that makes its items
                while it is iterated keeps memory small, and is iterated again when needed.
            **options: The batch's own: its parent, and its idempotency key.

        Raises:
            ApiError: The server refused the batch, or could not be reached.
            BatchNotSealedError: The server did not have all items after five attempts.
        """
        return triggers.batch_trigger(self._settings, items, options)


class HoldfastClient(_Client[AsyncTransport]):
    """The async client: every operation is awaited, every list iterated with ``async for``."""

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        transport = AsyncTransport(timeout_seconds=options.get("timeout_seconds", 60.0))
        super().__init__(transport, _settings(options))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class SyncHoldfastClient(_Client[SyncTransport]):
    """The sync client: the same operations, for code without an event loop."""

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        transport = SyncTransport(timeout_seconds=options.get("timeout_seconds", 60.0))
        super().__init__(transport, _settings(options))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _settings(options: ClientOptions) -> Settings:
    """Arguments win over the environment; one credential given by hand excludes the others'."""
    secret_key, access_token = options.get("secret_key"), options.get("access_token")
    if not secret_key and not access_token:
        secret_key = os.environ.get("HOLDFAST_SECRET_KEY")
        access_token = os.environ.get("HOLDFAST_ACCESS_TOKEN")
    api_url = options.get("api_url") or os.environ.get("HOLDFAST_API_URL") or DEFAULT_API_URL
    if not api_url.startswith(("http://", "https://")):
        raise ValueError(f"api_url must start with http:// or https://, and is {api_url!r}")
    return Settings(
        api_url=api_url.rstrip("/"),
        secret_key=secret_key or None,
        access_token=access_token or None,
        branch=options.get("branch"),
        project=options.get("project"),
        environment=options.get("environment"),
        source=options.get("source", "sdk"),
        retry=options.get("retry", Retry()),
    )
