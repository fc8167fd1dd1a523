"""The worker's WebSocket on a live server: who is let in, and what nonsense is answered with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from holdfast.protocol import (
    PROTOCOL_VERSION,
    SUBPROTOCOL_MSGPACK,
    TO_WORKER,
    Beat,
    Capacity,
    Completed,
    Execute,
    Hello,
    Malformed,
    Message,
    Refused,
    Settled,
    Started,
    Welcome,
    decode,
    encode,
)
from tests import factories
from tests.api import scenes
from tests.api.client import Api
from tests.live import live_process, web

__all__ = ["live_process", "web"]

_SECONDS = 20
REFUSED = 4400


class Line:
    """A connection as a worker has it; messages are sent and awaited one by one."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._is_binary = socket.subprotocol == SUBPROTOCOL_MSGPACK
        self._received: list[Message] = []

    def say(self, *messages: Message) -> None:
        self._socket.send(encode(list(messages), binary=self._is_binary))

    def say_raw(self, frame: str | bytes) -> None:
        self._socket.send(frame)

    def hear(self) -> Message:
        while not self._received:
            self._received = list(decode(self._socket.recv(_SECONDS), TO_WORKER))
        return self._received.pop(0)

    def refusal(self) -> tuple[str, str]:
        """Code and words of the refusal that ends the connection."""
        refused = self.hear()
        assert isinstance(refused, Refused), refused
        with pytest.raises(ConnectionClosed):
            self._socket.recv(_SECONDS)
        assert self._socket.close_code == REFUSED
        return refused.code, refused.message


@pytest.fixture
def acme(web) -> factories.Tenant:
    tenant = factories.acme()
    scenes.version(tenant.scope)
    return tenant


@pytest.fixture
def call(web, acme) -> Iterator[Callable[..., Line]]:
    """Opens a connection with the key of acme's production."""
    with ExitStack() as opened:

        def call(*subprotocols: str) -> Line:
            socket = connect(
                web.path("/coordinator/v1").replace("http://", "ws://", 1),
                additional_headers={"Authorization": f"Bearer {acme.secret}"},
                subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            )
            return Line(opened.enter_context(socket))

        yield call


def hello(**fields: Any) -> Hello:
    given: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION, "session": str(uuid4()), "sdk": "1.0", "version": "",
        "capacity": 1,
    }  # fmt: skip
    return Hello(**given | fields)


def test_a_worker_is_welcome_and_learns_where_it_is(call):
    line = call()
    line.say(hello())
    welcome = line.hear()
    assert isinstance(welcome, Welcome)
    assert (welcome.environment["slug"], welcome.lost) == ("prod", [])
    assert welcome.beat_seconds < welcome.lease_seconds


@pytest.mark.parametrize("spoken", [0, PROTOCOL_VERSION + 1])
def test_a_worker_of_another_protocol_is_told_what_to_install(call, spoken):
    line = call()
    line.say(hello(protocol=spoken))
    assert line.refusal() == (
        "protocol",
        f"this server speaks worker protocol {PROTOCOL_VERSION}, the worker speaks {spoken}: "
        "install the holdfast package that belongs to this server",
    )


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"version": "20200101.1"}, "version", "no version '20200101.1'"),
        ({"session": "mine"}, "invalid", "session and instance must be UUIDs"),
        ({"capacity": -1}, "invalid", "capacity must be 0 to 10000"),
        ({"machine": "huge"}, "invalid", "unknown machine 'huge'"),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused_in_words(call, fields, code, words):
    line = call()
    line.say(hello(**fields))
    said, message = line.refusal()
    assert said == code
    assert words in message


@pytest.mark.parametrize("frame", ["nonsense", "[]", "{}", '[{"type": "hello"}]', b"\xff\x00"])
def test_what_is_no_hello_is_refused(call, frame):
    line = call()
    line.say_raw(frame)
    assert line.refusal()[0] == "invalid"


def test_the_first_message_must_be_a_hello(call):
    line = call()
    line.say(Beat(holding=[]))
    assert line.refusal() == ("invalid", "the first message must be a hello")


def test_nonsense_after_the_hello_is_answered_and_the_worker_stays(call, acme):
    line = call()
    line.say(hello(capacity=0))
    assert isinstance(line.hear(), Welcome)
    line.say_raw(json.dumps([{"type": "unheard-of"}]))
    assert isinstance(line.hear(), Malformed)
    line.say(Started(run="run_none", generation=1, attempt=1))
    assert line.hear() == Malformed(detail="started: not a run id")
    line.say(hello())
    assert line.hear() == Malformed(detail="hello is not expected now")
    run = scenes.run(Api(acme.secret))
    line.say(Capacity(slots=1))
    execute = line.hear()
    assert isinstance(execute, Execute)
    assert execute.run == run


@pytest.mark.parametrize("subprotocols", [(), (SUBPROTOCOL_MSGPACK,)])
def test_a_run_goes_to_the_worker_and_its_result_comes_back(call, acme, subprotocols):
    line, api = call(*subprotocols), Api(acme.secret)
    line.say(hello())
    assert isinstance(line.hear(), Welcome)
    run = scenes.run(api, payload={"image": 1})
    execute = line.hear()
    assert isinstance(execute, Execute)
    assert (execute.run, execute.payload) == (run, '{"image":1}')
    ended = {"run": run, "generation": execute.generation, "attempt": execute.attempt}
    line.say(Started(**ended), Completed(**ended, output='"done"'))
    settled = line.hear()
    assert isinstance(settled, Settled)
    assert (settled.run, settled.outcome) == (run, "final")
    shown = api.get(f"/api/v3/runs/{run}").ok()
    assert (shown["status"], shown["output"]) == ("COMPLETED", "done")


def test_runs_go_to_the_connection_of_a_worker_that_is_back(call, acme):
    session = str(uuid4())
    before, after = call(), call()
    for line in (before, after):
        line.say(hello(session=session))
        assert isinstance(line.hear(), Welcome)
    run = scenes.run(Api(acme.secret))
    execute = after.hear()
    assert isinstance(execute, Execute)
    assert execute.run == run
