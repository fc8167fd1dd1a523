"""Triggers that are made at the same moment travel in one request, each answered as if alone.

Nothing else about them changes: each keeps its own request key, its own refusal and its own
retries, which may travel together again.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from holdfast._wire import Lost, Request, Response

_PATH = re.compile(r"(.+)/api/v1/tasks/([^/?]+)/trigger")
_LARGEST_BYTES = 64 * 1024
_MOST_CALLS = 500
# What each trigger says for itself; all else must be the same for those that travel together.
_OWN = ("traceparent", "x-trigger-request-idempotency-key")
# What says that it was the request for all that was refused, not the triggers in it.
_NOT_TAKEN = frozenset({400, 401, 403, 404, 405, 413})

Speak = Callable[[Request], Awaitable[Response | Lost]]
_Companions = list[tuple[Request, "asyncio.Future[Response | Lost]"]]


def travels_together(request: Request) -> bool:
    """Whether this is a trigger that may share a request with others."""
    is_small = request.content is not None and len(request.content) <= _LARGEST_BYTES
    return request.method == "POST" and is_small and _PATH.fullmatch(request.url) is not None


class Together:
    """Collects the triggers of one turn of the event loop.

    Args:
        speak: Sends one request.
    """

    def __init__(self, speak: Speak) -> None:
        self._speak = speak
        self._waiting: dict[object, _Companions] = {}
        self._journeys: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request) -> Response | Lost:
        """Send a trigger with whatever else is triggered in this turn; its own answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response | Lost] = loop.create_future()
        kind = (_server(request), frozenset(_shared(request.headers).items()))
        companions = self._waiting.setdefault(kind, [])
        companions.append((request, answer))
        if len(companions) == 1:
            # the loop comes back to this when all that is ready to run has run
            loop.call_soon(self._leave, kind)
        elif len(companions) == _MOST_CALLS:
            self._leave(kind)
        return await answer

    def _leave(self, kind: object) -> None:
        companions = self._waiting.pop(kind, None)
        if companions:
            journey = asyncio.get_running_loop().create_task(self._travel(companions))
            self._journeys.add(journey)
            journey.add_done_callback(self._journeys.discard)

    async def _travel(self, companions: _Companions) -> None:
        try:
            answers = await self._answers([request for request, _ in companions])
        except Exception as error:  # each of them is told
            for _, answer in companions:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), given in zip(companions, answers, strict=True):
            if not answer.done():  # else its caller was canceled meanwhile
                answer.set_result(given)

    async def _answers(self, requests: Sequence[Request]) -> Sequence[Response | Lost]:
        if len(requests) == 1:
            return [await self._speak(requests[0])]
        answer = await self._speak(_joined(requests))
        if isinstance(answer, Response) and answer.status == 200:
            return [_one(each) for each in answer.json()["answers"]]
        if isinstance(answer, Response) and answer.status in _NOT_TAKEN:
            # a server, or a proxy before it, that does not take them together
            return await asyncio.gather(*map(self._speak, requests))
        return [answer] * len(requests)


def _server(request: Request) -> str:
    found = _PATH.fullmatch(request.url)
    return found[1] if found else ""


def _task(request: Request) -> str:
    found = _PATH.fullmatch(request.url)
    return unquote(found[2]) if found else ""


def _shared(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _OWN}


def _joined(requests: Sequence[Request]) -> Request:
    """One request for all; `requests` differ in nothing but their tasks, bodies and own headers."""
    first = requests[0]
    calls = [
        {
            "task": _task(request),
            "headers": {name: request.headers[name] for name in _OWN if name in request.headers},
            **json.loads(request.content or b"{}"),
        }
        for request in requests
    ]
    return Request(
        method="POST",
        url=f"{_server(first)}/api/v1/triggers",
        headers=_shared(first.headers),
        content=json.dumps({"calls": calls}).encode(),
    )


def _one(answer: dict[str, Any]) -> Response:
    return Response(
        status=answer["status"],
        headers={name.lower(): value for name, value in answer["headers"].items()},
        content=json.dumps(answer["body"]).encode(),
    )
