"""The worker's WebSocket: authenticate, say welcome, translate messages both ways."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer

from apps.coordinator.dispatcher import dispatcher
from apps.coordinator.seats import Seat
from apps.core import bell, clock, metrics
from apps.core.errors import DomainError
from apps.core.ids import parse_public_id, public_id
from apps.environments.credentials import resolve_key
from apps.environments.queries import get_environment, runtime_variables
from apps.environments.scope import Scope
from apps.runs.limits import limits
from apps.runs.operations.reports import Report, RunMessage
from apps.runs.operations.sessions import Opened, open_session
from holdfast.protocol import (
    PROTOCOL_VERSION,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    TO_COORDINATOR,
    Beat,
    Capacity,
    Hello,
    Malformed,
    Message,
    Prepared,
    ProtocolError,
    Refused,
    Stale,
    Welcome,
    decode,
    encode,
)

_MOST_CAPACITY = 10_000
_SERVER = "holdfast/1"

log = logging.getLogger(__name__)


class WorkerSocket(AsyncWebsocketConsumer):
    """One connection of one worker."""

    # The dispatcher tells a worker, not Redis: its loss would end every connection.
    channel_layer_alias = ""

    scope_of_key: Scope
    seat: Seat | None = None
    binary = False

    async def connect(self) -> None:
        secret, branch = _bearer(self.scope), _header(self.scope, b"x-trigger-branch")
        try:
            self.scope_of_key = await dispatcher().database.run(
                resolve_key, secret, branch, now=clock.now()
            )
        except DomainError:
            await self.close(code=4401)
            return
        offered = self.scope.get("subprotocols") or []
        self.binary = SUBPROTOCOL_MSGPACK in offered
        chosen = SUBPROTOCOL_MSGPACK if self.binary else SUBPROTOCOL_JSON
        await self.accept(subprotocol=chosen if chosen in offered else None)
        self._outbox: asyncio.Queue[list[Message]] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())
        self._patience = asyncio.get_running_loop().call_later(
            limits().hello_seconds, self._impatient
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            messages = decode(
                text_data if text_data is not None else bytes_data or b"", TO_COORDINATOR
            )
        except ProtocolError as error:
            if self.seat is None:
                await self._refuse("invalid", str(error))
            else:
                self.send_soon([Malformed(detail=str(error))])
            return
        if self.seat is None:
            await self._greet(messages)
        else:
            self._take(self.seat, messages)

    async def disconnect(self, code: int) -> None:
        if hasattr(self, "_writer"):
            self._writer.cancel()
            self._patience.cancel()
        if self.seat is not None:
            await dispatcher().forget(self.seat)

    def send_soon(self, messages: list[Message]) -> None:
        self._outbox.put_nowait(messages)

    # -- The greeting --------------------------------------------------------------------------

    async def _greet(self, messages: list[Message]) -> None:
        hello, *rest = messages or [Malformed(detail="")]
        if not isinstance(hello, Hello):
            await self._refuse("invalid", "the first message must be a hello")
            return
        if hello.protocol != PROTOCOL_VERSION:
            await self._refuse(
                "protocol",
                f"this server speaks worker protocol {PROTOCOL_VERSION}, the worker speaks "
                f"{hello.protocol}: install the holdfast package that belongs to this server",
            )
            return
        if not 0 <= hello.capacity <= _MOST_CAPACITY:
            await self._refuse("invalid", f"capacity must be 0 to {_MOST_CAPACITY}")
            return
        try:
            opened, welcome = await dispatcher().database.run(self._open, hello)
        except DomainError as error:
            code = "version" if "version" in error.detail else "invalid"
            await self._refuse(code, error.message)
            return
        self._patience.cancel()
        self.send_soon([welcome, *opened.missed])
        self.seat = Seat.of(opened, self.send_soon)
        dispatcher().seat(self.seat)
        self._take(self.seat, rest)

    def _open(self, hello: Hello) -> tuple[Opened, Welcome]:
        scope, bounds = self.scope_of_key, limits()
        opened = open_session(
            scope, hello=hello, coordinator=dispatcher().identity, now=clock.now()
        )
        # a process that has not noticed that the worker's former connection broke lets it go
        bell.ring("moved", session=str(opened.session_id), coordinator=str(dispatcher().identity))
        environment = get_environment(scope)
        return opened, Welcome(
            server=_SERVER,
            beat_seconds=bounds.beat_seconds,
            lease_seconds=bounds.lease_seconds,
            environment={
                "id": public_id("env", environment.pk),
                "slug": environment.slug,
                "type": environment.type,
                "branch": environment.branch,
            },
            variables=runtime_variables(environment),
            lost=list(opened.lost),
            adopted=list(opened.adopted),
        )

    async def _refuse(self, code: Any, message: str) -> None:
        frame = encode([Refused(code=code, message=message)], binary=self.binary)
        await self._send_frame(frame)
        await self.close(code=4400)

    def _impatient(self) -> None:
        if self.seat is None:
            asyncio.get_running_loop().create_task(
                self._refuse("invalid", f"no hello within {limits().hello_seconds:g} seconds")
            )

    # -- Both ways -----------------------------------------------------------------------------

    def _take(self, seat: Seat, messages: list[Message]) -> None:
        reports = []
        for message in messages:
            try:
                if isinstance(message, RunMessage):
                    reports.append(_report(seat.session_id, message))
                else:
                    self._note(seat, message)
            except DomainError:
                self.send_soon([Malformed(detail=f"{message.type}: not a run id")])
        if reports:
            dispatcher().report(reports)

    def _note(self, seat: Seat, message: Message) -> None:
        match message:
            case Beat():
                dispatcher().beat(seat, message.holding)
            case Capacity():
                dispatcher().resize(seat, max(0, min(message.slots, _MOST_CAPACITY)))
            case Prepared():
                dispatcher().freeze(seat, parse_public_id("checkpoint", message.checkpoint))
            case _:
                self.send_soon([Malformed(detail=f"{message.type} is not expected now")])

    async def _write(self) -> None:
        while True:
            messages = await self._outbox.get()
            while not self._outbox.empty():
                messages = messages + self._outbox.get_nowait()
            metrics.stale_messages.inc(sum(isinstance(message, Stale) for message in messages))
            await self._send_frame(encode(messages, binary=self.binary))

    async def _send_frame(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            await self.send(text_data=frame)
        else:
            await self.send(bytes_data=frame)


def _report(session_id: UUID, message: RunMessage) -> Report:
    run_id = parse_public_id("run", message.run)
    return Report(session_id=session_id, run_id=run_id, message=message)


def _bearer(scope: Any) -> str:
    value = _header(scope, b"authorization") or ""
    kind, _, token = value.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _header(scope: Any, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
