"""A raw worker: a WebSocket that speaks the protocol, and nothing that works."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from holdfast.protocol import (
    PROTOCOL_VERSION,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    TO_WORKER,
    Hello,
    Message,
    Welcome,
    decode,
    encode,
)
from tests.live import LiveServer

M = TypeVar("M", bound=Message)

PATIENCE = 60.0


@dataclass(slots=True)
class RawWorker:
    """One connection; what was heard and not asked for yet waits in `heard`."""

    socket: ClientConnection
    session: str
    binary: bool = False
    heard: list[Message] = field(default_factory=list)

    def hello(self, **fields: Any) -> Welcome:
        self.send(self.greeting(**fields))
        return self.expect(Welcome)

    def greeting(self, **fields: Any) -> Hello:
        given = {
            "protocol": PROTOCOL_VERSION, "session": self.session, "sdk": "raw",
            "version": "20261124.1", "capacity": 4,
        }  # fmt: skip
        return Hello(**given | fields)

    def send(self, *messages: Message) -> None:
        self.socket.send(encode(messages, binary=self.binary))

    def expect(self, kind: type[M], **fields: Any) -> M:
        """The next message of this kind that has these fields; others are kept."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.heard:
                if isinstance(message, kind) and _has(message, fields):
                    self.heard.remove(message)
                    return message
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind.type} came, but {self.heard}"
            with contextlib.suppress(TimeoutError):
                self.heard += decode(self.socket.recv(timeout=left), TO_WORKER)

    def closed(self) -> int:
        """The code with which the server closes the connection."""
        deadline = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    self.heard += decode(self.socket.recv(timeout=1), TO_WORKER)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError("the connection stays open")


def _has(message: Message, fields: dict[str, Any]) -> bool:
    return all(getattr(message, name) == value for name, value in fields.items())


@contextmanager
def raw_worker(
    server: LiveServer,
    secret: str,
    *,
    session: str | None = None,
    binary: bool = False,
    offers: bool = True,
    headers: dict[str, str] | None = None,
) -> Iterator[RawWorker]:
    """Connect as a worker; nothing has been said yet."""
    offered = [SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON] if binary else [SUBPROTOCOL_JSON]
    with connect(
        server.url.replace("http://", "ws://") + "/coordinator/v1",
        additional_headers={"Authorization": f"Bearer {secret}"} if headers is None else headers,
        subprotocols=[Subprotocol(name) for name in offered] if offers else None,
        max_size=None,
        open_timeout=PATIENCE,
    ) as socket:
        assert socket.subprotocol == (offered[0] if offers else None)
        yield RawWorker(socket=socket, session=session or str(uuid4()), binary=binary)
