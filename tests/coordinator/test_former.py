"""A worker of the SDK before this one goes on working: what it says is understood, and it
understands what it hears.

`former_protocol.json` was recorded from that SDK: its messages, and what it needs of each that it
gets. It ignores fields that it does not know, and cannot bear messages that it does not know.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgpack
import pytest

from apps.core import clock
from apps.core.ids import new_id, parse_public_id, public_id
from apps.runs.models import JournalEntry
from apps.runs.operations.waitpoints import complete_due
from apps.runs.states import RunStatus
from tests.coordinator.client import PATIENCE, RawWorker
from tests.runs.engine import get, trigger

pytestmark = pytest.mark.django_db(transaction=True)

_FORMER: dict[str, Any] = json.loads(Path(__file__).with_name("former_protocol.json").read_text())


@dataclass(slots=True)
class FormerWorker:
    """Says what was recorded, with these runs' own ids, and reads as strictly as it did."""

    raw: RawWorker
    heard: list[dict[str, Any]] = field(default_factory=list)

    def say(self, name: str, work: dict[str, Any] | None = None, **values: Any) -> None:
        given = {"session": self.raw.session, "version": "20261124.1", **values}
        if work is not None:
            given |= {"run": work["run"], "generation": work["generation"]}
        frame = [_filled(_FORMER["says"][name], given)]
        self.raw.socket.send(msgpack.packb(frame) if self.raw.binary else json.dumps(frame))

    def hear(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next message of this name with these fields."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for message in self.heard:
                if message["type"] == name and fields.items() <= message.items():
                    self.heard.remove(message)
                    return message
            with contextlib.suppress(TimeoutError):
                self.heard += self._read(self.raw.socket.recv(timeout=1))
        raise AssertionError(f"no {name} came, but {self.heard}")

    def _read(self, frame: str | bytes) -> list[dict[str, Any]]:
        messages = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
        for message in messages:
            assert message["type"] in _FORMER["needs"], "it does not know this message"
            assert set(_FORMER["needs"][message["type"]]) <= message.keys()
        return list(messages)


def _filled(template: Any, given: dict[str, Any]) -> Any:
    """The recorded message with the values of this story in its places."""
    match template:
        case dict():
            return {name: _filled(value, given) for name, value in template.items()}
        case list():
            return [_filled(value, given) for value in template]
        case str() if template.startswith("$"):
            return given[template[1:]]
    return template


@pytest.mark.parametrize("binary", [False, True], ids=["json", "msgpack"])
def test_a_worker_of_the_sdk_before_goes_on_working(connect, acme, binary):
    worker = FormerWorker(connect(binary=binary, session=str(uuid4())))
    worker.say("hello")
    worker.hear("welcome")
    runs = [public_id("run", trigger(acme.scope, now=clock.now())) for _ in range(4)]
    waits, returns, fails, leaves = (worker.hear("execute", run=run) for run in runs)

    worker.say("started", waits)
    worker.say("metadata", waits)
    worker.say("steps", waits)
    assert worker.hear("recorded")["through"] == 1
    worker.say("suspended", waits, time=public_id("waitpoint", new_id()))
    worker.hear("settled", run=waits["run"], outcome="waiting")
    worker.say("beat", waits)
    complete_due(clock.now())
    resumed = worker.hear("resume", run=waits["run"])
    worker.say("completed", waits | {"generation": resumed["generation"]})
    worker.hear("settled", run=waits["run"], outcome="final")

    worker.say("rejected", returns)
    worker.say("started", fails)
    worker.say("failed", fails)
    for given_back in (returns, fails):
        worker.hear("settled", run=given_back["run"], outcome="requeued")
    worker.say("started", leaves)
    later = int(clock.now().timestamp() * 1000) + 3_600_000
    worker.say("released", leaves, time=public_id("waitpoint", new_id()), due=later)
    worker.hear("settled", run=leaves["run"], outcome="released")
    worker.say("capacity")

    done = get(waits["run"])
    assert (done.status, done.metadata) == (RunStatus.COMPLETED, {"n": 1})
    assert JournalEntry.objects.get(run_id=parse_public_id("run", waits["run"])).name == "charge"
    assert get(fails["run"]).status == RunStatus.DELAYED
    assert get(leaves["run"]).status == RunStatus.WAITING
