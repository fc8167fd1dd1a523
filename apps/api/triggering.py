"""Single triggers, from the credential to the answer; many calls are answered from one commit."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import local
from typing import Any

from django.db import connection

from apps.api import errors
from apps.api.access import Access, Public
from apps.api.authentication import caller_of
from apps.api.caller import Caller
from apps.api.endpoint import read
from apps.api.headers import Headers, give_token
from apps.api.permissions import admit
from apps.api.serializers.base import is_storable
from apps.api.serializers.triggers import TriggerBody
from apps.api.trigger_requests import trigger_request
from apps.core import clock
from apps.core.errors import NotFound
from apps.core.ids import public_id
from apps.orgs.permissions import Permission
from apps.runs.operations.together import Asked, trigger_together
from apps.runs.operations.trigger import Triggered, TriggerRequest

ACCESS = Access(public=Public("trigger", ("tasks",), kwarg="task"), member=Permission.RUNS_TRIGGER)

_BODY = TriggerBody()
_READ_FOR = timedelta(hours=1)
_FRESH_SECONDS = 1.0

log = logging.getLogger(__name__)
_thread = local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to trigger, as it came; the names of headers are in lower case.

    `body` reads what was sent, and raises what is wrong with it.
    """

    task: str
    headers: Mapping[str, str]
    body: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a caller is answered."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """A call whose caller may do what it asks for."""

    caller: Caller
    request: TriggerRequest


def read_call(
    caller: Caller, task: str, body: Any, *, headers: Mapping[str, str], now: datetime
) -> TriggerRequest:
    """What a caller asks for; raises ValidationError and DomainError."""
    return trigger_request(
        task,
        read(_BODY, body),
        now=now,
        headers=headers,
        request_key=headers.get("x-trigger-request-idempotency-key"),
        token_digest=caller.token_digest,
    )


def shape(triggered: Triggered) -> dict[str, Any]:
    """The run that answers a call, as the contract writes it."""
    answer = {"id": public_id("run", triggered.run_id), "isCached": triggered.is_cached}
    if triggered.waitpoint_id:
        answer["waitpointId"] = public_id("waitpoint", triggered.waitpoint_id)
    return answer


def tell_token(headers: Headers, caller: Caller, triggered: Triggered, *, now: datetime) -> None:
    """Let the caller follow the run that it has triggered."""
    run = public_id("run", triggered.run_id)
    scopes = (f"read:runs:{run}", f"write:inputStreams:{run}")
    give_token(headers, caller, scopes, lifetime=_READ_FOR, now=now)


def answer_together(calls: Sequence[Call]) -> list[Reply]:
    """Answer each call as if it were alone; what is accepted shares one transaction."""
    now = clock.now()
    _have_a_connection()
    admitted = [_tried(_admit, call, now) for call in calls]
    asked = [
        Asked(scope=each.caller.scope, request=each.request)
        for each in admitted
        if isinstance(each, _Admitted)
    ]
    accepted = iter(trigger_together(asked, now=now))
    return [
        _reply(each, next(accepted), now=now) if isinstance(each, _Admitted) else _refusal(each)
        for each in admitted
    ]


def _have_a_connection() -> None:
    """Have the next query look whether the connection still works, unless it did just now."""
    used_at, _thread.used_at = getattr(_thread, "used_at", 0.0), time.monotonic()
    is_doubtful = _thread.used_at - used_at > _FRESH_SECONDS or connection.errors_occurred
    if is_doubtful and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _tried(step: Callable[[Call, datetime], _Admitted], call: Call, now: datetime) -> Any:
    try:
        return step(call, now)
    except Exception as error:  # each call fails by itself
        return error


def _admit(call: Call, now: datetime) -> _Admitted:
    if not is_storable(call.task):
        raise NotFound
    caller = admit(caller_of(call.headers, now=now), ACCESS, {"task": call.task})
    request = read_call(caller, call.task, call.body(), headers=call.headers, now=now)
    return _Admitted(caller=caller, request=request)


def _reply(admitted: _Admitted, outcome: Triggered | Exception, *, now: datetime) -> Reply:
    if isinstance(outcome, Exception):
        return _refusal(outcome)
    headers: dict[str, str] = {}
    tell_token(headers, admitted.caller, outcome, now=now)
    return Reply(status=200, body=shape(outcome), headers=headers)


def _refusal(error: Exception) -> Reply:
    response = errors.handle(error, {})
    if response is None:
        log.error("a trigger failed", exc_info=error)
        return Reply(status=500, body=errors.INTERNAL)
    headers = {name: value for name, value in response.items() if name != "Content-Type"}
    return Reply(status=response.status_code, body=response.data, headers=headers)
