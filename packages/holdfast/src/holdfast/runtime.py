"""The port between the SDK and whatever runs it: a task process, a test bench, a plain program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.client.results import BatchHandle, RunHandle, RunResult
from holdfast.client.triggers import BatchItem, TriggerOptions
from holdfast.context import Context
from holdfast.journal import Journal
from holdfast.packets import Packet
from holdfast.protocol import WaitpointResult
from holdfast.tokens import TokenStore

if TYPE_CHECKING:
    from holdfast.metadata import RunMetadata
    from holdfast.tasks import Task


class Runtime(Protocol):
    """What the SDK asks of its surroundings while a run executes."""

    async def trigger(self, task: str, payload: Any, options: TriggerOptions) -> RunHandle:
        """Start a run."""

    async def batch_trigger(
        self, items: Sequence[BatchItem], options: TriggerOptions
    ) -> BatchHandle:
        """Start many runs."""

    async def wait_for_run(self, handle: RunHandle) -> WaitpointResult:
        """Suspend until the child has ended."""

    async def wait_for_batch(self, handle: BatchHandle) -> list[RunResult]:
        """Suspend until every run of the batch has ended; results in the order of the items."""

    def now(self) -> datetime:
        """What time it is, in UTC."""

    async def wait_until(self, moment: datetime, *, key: str | None) -> None:
        """Suspend until a moment; with a key, until the moment that an earlier attempt named."""

    async def rest_until(self, moment: datetime, *, key: str) -> None:
        """Suspend until a moment, out of what keeps the run from being suspended (`busy`)."""

    async def wait_for_token(self, token: str) -> WaitpointResult:
        """Suspend until a token was completed or has timed out."""

    async def wait_for_input(self, key: str, *, until: datetime | None) -> WaitpointResult:
        """Suspend until the next item of an input has come, or until a moment."""

    def has_taken(self, key: str, seq: int) -> None:
        """Know that this item was taken when the code was executed before."""

    def put_back(self, item: WaitpointResult) -> None:
        """Take back an item that the code has not got in the end."""

    @property
    def tokens(self) -> TokenStore:
        """Where tokens are kept."""

    async def change_metadata(self, target: str, operations: list[dict[str, Any]]) -> None:
        """Send operations on the metadata of ``self``, ``parent`` or ``root``."""

    async def add_tags(self, tags: list[str]) -> None:
        """Add tags to the run."""

    def busy(self) -> AbstractContextManager[None]:
        """Keep the run from being suspended while something is under way."""

    async def keep(self, packet: Packet) -> Packet:
        """Put a packet that is too large for a journal into object storage."""

    async def load(self, packet: Packet) -> Packet:
        """Get a packet back from object storage."""

    def emit(self, record: dict[str, Any]) -> None:
        """Take a log line or a span; must not block and must not fail."""


@dataclass(slots=True, kw_only=True)
class RunState:
    """All that belongs to one attempt while it executes.

    Attributes:
        context: What `ctx` shows.
        runtime: The surroundings.
        task: The task that runs.
        metadata: The run's metadata and what is still to be sent of it.
        loop: The event loop of the task process, for calls from threads.
        traceparent: The W3C trace context of the attempt.
        local: Storage for middleware, hooks and the task itself.
        blocked_threads: How many of the task's threads wait for the event loop.
        journal: What a durable run has recorded; None in others.
        is_resumed: Whether the attempt goes on that another process has begun.
        executed_before: Seconds of it that were executed there.
    """

    context: Context
    runtime: Runtime
    task: Task[Any, Any]
    metadata: RunMetadata
    loop: asyncio.AbstractEventLoop
    traceparent: str | None = None
    local: dict[str, Any] = field(default_factory=dict)
    blocked_threads: int = 0
    journal: Journal | None = None
    is_resumed: bool = False
    executed_before: float = 0.0
