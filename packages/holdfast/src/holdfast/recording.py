"""What a durable run does with the world outside goes through its journal here."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Unpack

from holdfast import failures, packets
from holdfast.client.results import BatchHandle, RunHandle, RunResult
from holdfast.client.tokens import Token, TokenFilters, TokenHandle, TokenOptions, TokenSummary
from holdfast.client.triggers import BatchItem, TriggerOptions
from holdfast.errors import HoldfastError, RunCanceled
from holdfast.journal import Call, Journal, branch, digest, in_step, outside
from holdfast.protocol import Entry, WaitpointResult
from holdfast.runtime import Runtime
from holdfast.tokens import TokenStore


@dataclasses.dataclass(slots=True)
class Attempts:
    """How often something was tried."""

    made: int = 0


async def record(
    runtime: Runtime,
    journal: Journal,
    call: Call,
    act: Callable[[], Awaitable[Any]],
    *,
    attempts: Attempts | None = None,
    is_busy: bool = True,
) -> Any:
    """What the journal has of a call; else act, and record what comes of it.

    Args:
        runtime: Keeps what is too large for a journal.
        journal: The journal.
        call: The call.
        act: What to do; it is outside of the journaled code.
        attempts: Counted by `act`.
        is_busy: Whether the run must not be suspended meanwhile.
    """
    if call.recorded is None:
        await journal.pass_on(call)
        entry = await journal.settle(
            call, await _acted(runtime, journal, call, act, attempts, is_busy)
        )
    else:
        entry = await journal.given(call)
    if not entry.ok:
        error = failures.to_exception(entry.error or {}, name=call.name)
        journal.raised(error, call.seq, *call.remarks)
        raise error
    packet = packets.Packet(entry.output, entry.output_type)
    if packet.data_type == packets.STORE:
        packet = await runtime.load(packet)
    return packets.decode(*packet)


async def _acted(
    runtime: Runtime,
    journal: Journal,
    call: Call,
    act: Callable[[], Awaitable[Any]],
    attempts: Attempts | None,
    is_busy: bool,
) -> Entry:
    tries = attempts or Attempts()
    with outside():
        try:
            if is_busy:
                with runtime.busy():
                    packet = packets.encode(await act())
                    if packet.size >= packets.OFFLOAD_BYTES:
                        packet = await runtime.keep(packet)
            else:
                packet = packets.encode(await act())
        except RunCanceled:
            journal.check()  # it may be let go of, which is not the code's to know
            raise
        except Exception as error:
            return call.failure(failures.to_wire(error), attempts=max(1, tries.made))
    return call.entry(packet, attempts=max(1, tries.made))


class Recording:
    """A runtime whose every answer is recorded (see `holdfast.runtime.Runtime`).

    Args:
        inner: The runtime that does it.
        journal: Where it is recorded.
        run_id: The run; it names the children that must not be started twice.
    """

    def __init__(self, inner: Runtime, journal: Journal, *, run_id: str) -> None:
        self._inner = inner
        self._journal = journal
        self._run_id = run_id
        self._started: dict[str, int] = {}

    async def trigger(self, task: str, payload: Any, options: TriggerOptions) -> RunHandle:
        """Start a run once."""
        if branch.get() is None:
            return await self._inner.trigger(task, payload, options)
        call = self._journal.call("trigger", task, digest=digest([payload]))

        async def start() -> dict[str, Any]:
            await self._journal.committed()
            keyed = self._keyed(options, call.position)
            return dataclasses.asdict(await self._inner.trigger(task, payload, keyed))

        handle = RunHandle(**await record(self._inner, self._journal, call, start))
        self._started[handle.id] = call.seq
        return handle

    async def batch_trigger(
        self, items: Sequence[BatchItem], options: TriggerOptions
    ) -> BatchHandle:
        """Start many runs once."""
        if branch.get() is None:
            return await self._inner.batch_trigger(items, options)
        names = ", ".join(sorted({item.task for item in items}))
        call = self._journal.call("batch", names, digest=digest([i.payload for i in items]))

        async def start() -> dict[str, Any]:
            await self._journal.committed()
            keyed = [
                dataclasses.replace(
                    item, options=self._keyed(item.options, f"{call.position}/{index}")
                )
                for index, item in enumerate(items)
            ]
            return dataclasses.asdict(await self._inner.batch_trigger(keyed, options))

        handle = BatchHandle(**await record(self._inner, self._journal, call, start))
        self._started[handle.id] = call.seq
        return handle

    async def wait_for_run(self, handle: RunHandle) -> WaitpointResult:
        """Wait once until the child has ended."""
        if branch.get() is None:
            _refuse_in_step()
            return await self._inner.wait_for_run(handle)
        call = self._journal.call("wait", "run", digest=handle.id)

        async def wait() -> dict[str, Any]:
            return dataclasses.asdict(await self._inner.wait_for_run(handle))

        value = await record(self._inner, self._journal, call, wait, is_busy=False)
        result = WaitpointResult(**value)
        if not result.ok:
            self._journal.awaited(result.run or handle.id, *self._seqs(handle.id, call))
        return result

    async def wait_for_batch(self, handle: BatchHandle) -> list[RunResult]:
        """Wait once until every run of the batch has ended."""
        if branch.get() is None:
            _refuse_in_step()
            return await self._inner.wait_for_batch(handle)
        call = self._journal.call("wait", "batch", digest=handle.id)

        async def wait() -> list[dict[str, Any]]:
            return [dataclasses.asdict(r) for r in await self._inner.wait_for_batch(handle)]

        values = await record(self._inner, self._journal, call, wait, is_busy=False)
        results = [RunResult(**value) for value in values]
        for result in results:
            if not result.ok:
                self._journal.awaited(result.id, *self._seqs(handle.id, call))
        return results

    async def wait_until(self, moment: datetime, *, key: str | None) -> None:
        """Wait once until a moment, which is that of the first time."""
        if branch.get() is None:
            _refuse_in_step()
            await self._inner.wait_until(moment, key=key)
            return
        call = self._journal.call("wait", "time")
        fresh = self._journal.call("time", "time", position=f"{call.position}t")
        entry = self._journal.note(fresh, packets.encode([uuid.uuid4().hex, moment]))
        name, until = packets.decode(entry.output, entry.output_type)

        async def wait() -> None:
            await self._inner.wait_until(until, key=key or f"{call.position}/{name}")

        await record(self._inner, self._journal, call, wait, is_busy=False)

    async def rest_until(self, moment: datetime, *, key: str) -> None:
        """Wait within a step, which is recorded as a whole."""
        await self._inner.rest_until(moment, key=key)

    async def wait_for_token(self, token: str) -> WaitpointResult:
        """Wait once until a token is over."""
        if branch.get() is None:
            _refuse_in_step()
            return await self._inner.wait_for_token(token)
        call = self._journal.call("wait", "token", digest=token)

        async def wait() -> dict[str, Any]:
            return dataclasses.asdict(await self._inner.wait_for_token(token))

        return WaitpointResult(
            **await record(self._inner, self._journal, call, wait, is_busy=False)
        )

    async def wait_for_input(self, key: str, *, until: datetime | None) -> WaitpointResult:
        """Wait once for an item of an input; the moment is that of the first time."""
        if branch.get() is None:
            _refuse_in_step()
            return await self._inner.wait_for_input(key, until=until)
        call = self._journal.call("wait", "input", digest=key)
        if until is not None:
            noted = self._journal.call("time", "time", position=f"{call.position}t")
            entry = self._journal.note(noted, packets.encode(until))
            until = packets.decode(entry.output, entry.output_type)
        items: list[WaitpointResult] = []

        async def wait() -> dict[str, Any]:
            items.append(await self._inner.wait_for_input(key, until=until))
            return dataclasses.asdict(items[0])

        try:
            value = await record(self._inner, self._journal, call, wait, is_busy=False)
        except asyncio.CancelledError:
            for item in items:  # it was given up before it was recorded
                self._inner.put_back(item)
            raise
        result = WaitpointResult(**value)
        if result.ok and result.seq is not None:
            self._inner.has_taken(key, result.seq)
        return result

    def has_taken(self, key: str, seq: int) -> None:
        """Know that an item was taken."""
        self._inner.has_taken(key, seq)

    def put_back(self, item: WaitpointResult) -> None:
        """Take an item back."""
        self._inner.put_back(item)

    @property
    def tokens(self) -> TokenStore:
        """Where tokens are kept; what is done with them is recorded."""
        return RecordedTokens(self._inner, self._journal)

    async def change_metadata(self, target: str, operations: list[dict[str, Any]]) -> None:
        """Change metadata, unless it was changed when this code was executed before."""
        if not self._journal.is_replaying:
            await self._inner.change_metadata(target, operations)

    async def add_tags(self, tags: list[str]) -> None:
        """Add tags, unless they were added when this code was executed before."""
        if not self._journal.is_replaying:
            await self._inner.add_tags(tags)

    def emit(self, record: dict[str, Any]) -> None:
        """Take a log line or a span, unless it was taken when this code was executed before."""
        if not self._journal.is_replaying:
            self._inner.emit(record)

    def now(self) -> datetime:
        """What time it is."""
        return self._inner.now()

    def busy(self) -> AbstractContextManager[None]:
        """Hold off a suspension."""
        return self._inner.busy()

    async def keep(self, packet: packets.Packet) -> packets.Packet:
        """Put a large packet into object storage."""
        return await self._inner.keep(packet)

    async def load(self, packet: packets.Packet) -> packets.Packet:
        """Get a large packet back."""
        return await self._inner.load(packet)

    def _seqs(self, started: str, call: Call) -> tuple[int, ...]:
        seq = self._started.get(started)
        return (call.seq,) if seq is None else (seq, call.seq)

    def _keyed(self, options: TriggerOptions, place: str) -> TriggerOptions:
        """Options with a key of the run and the place, so that a crash starts no second child.

        A key of the customer's own does that already.
        """
        if options.get("idempotency_key"):
            return options
        key = f"{self._run_id}/{place}"
        return {
            **options,
            "idempotency_key": hashlib.sha256(key.encode()).hexdigest(),
            "idempotency_key_options": {"key": key, "scope": "global"},
        }


def _refuse_in_step() -> None:
    if in_step.get():
        raise HoldfastError("a step may not wait: it is one unit; wait between steps")


class RecordedTokens:
    """Tokens as a durable run sees them (see `holdfast.tokens.TokenStore`)."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal

    async def create(self, **options: Unpack[TokenOptions]) -> TokenHandle:
        """Make a token once; it is kept before anybody else can be told of it."""
        value = await self._record(
            "create", lambda: self._runtime.tokens.create(**options), dataclasses.asdict
        )
        if branch.get() is not None:
            with self._runtime.busy():
                await self._journal.committed()
        return TokenHandle(**value)

    async def complete(self, token: str, data: Any = None) -> None:
        """Complete a token once."""
        await self._record(f"complete {token}", lambda: self._runtime.tokens.complete(token, data))

    async def retrieve(self, token: str) -> Token:
        """A token as it was when this was first asked."""
        return Token(
            **await self._record(
                f"retrieve {token}",
                lambda: self._runtime.tokens.retrieve(token),
                dataclasses.asdict,
            )
        )

    async def list(self, *, most: int, **filters: Unpack[TokenFilters]) -> list[TokenSummary]:
        """The tokens that there were when this was first asked."""
        values = await self._record(
            "list",
            lambda: self._runtime.tokens.list(most=most, **filters),
            lambda found: [dataclasses.asdict(each) for each in found],
        )
        return [TokenSummary(**value) for value in values]

    async def _record(
        self,
        name: str,
        act: Callable[[], Awaitable[Any]],
        plain: Callable[[Any], Any] = lambda value: value,
    ) -> Any:
        if branch.get() is None:
            return plain(await act())
        call = self._journal.call("token", name)

        async def acted() -> Any:
            return plain(await act())

        return await record(self._runtime, self._journal, call, acted)
