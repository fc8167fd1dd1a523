"""Tokens in memory, by the clock of a bench."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from holdfast import packets
from holdfast.client.tokens import Token, TokenFilters, TokenHandle, TokenOptions, TokenSummary
from holdfast.client.triggers import Duration
from holdfast.durations import length_of
from holdfast.protocol import WaitpointResult

TIMEOUT = timedelta(minutes=10)
KEY_LIFE = timedelta(hours=1)

Answer = Callable[[Token], Any]


class BenchTokens:
    """The tokens of a bench.

    Args:
        clock: What time it is.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self._packets: dict[str, packets.Packet] = {}
        self._over: dict[str, asyncio.Event] = {}
        self._answer: tuple[Answer, float] | None = None

    def all(self) -> list[Token]:
        """In the order of their creation."""
        return list(self._tokens.values())

    def answer_with(self, answer: Answer, after: float) -> None:
        """Complete every token from now on, so many seconds after it was made."""
        self._answer = (answer, after)

    def __contains__(self, token: object) -> bool:
        return token in self._tokens

    async def create(self, **options: Unpack[TokenOptions]) -> TokenHandle:
        """Make a token, or find the one that has the idempotency key already."""
        now, key = self._clock(), options.get("idempotency_key")
        if key is not None and (known := self._keyed(key, now)) is not None:
            return TokenHandle(id=known.id, url=known.url, is_cached=True)
        life = options.get("idempotency_key_ttl")
        token = Token(
            id=f"waitpoint_{len(self._tokens) + 1}",
            url=f"http://bench.invalid/waitpoints/{len(self._tokens) + 1}",
            status="WAITING",
            created_at=now,
            timeout_at=_moment(options.get("timeout"), now),
            idempotency_key=key,
            idempotency_key_expires_at=None if key is None else now + _life(life),
            tags=_words(options.get("tags", ())),
        )
        self._tokens[token.id], self._over[token.id] = token, asyncio.Event()
        self._schedule(token, now)
        return TokenHandle(id=token.id, url=token.url)

    async def complete(self, token: str, data: Any = None) -> None:
        """Complete a token; one that is over stays as it is."""
        self.end(token, packets.encode(data))

    def end(self, token: str, value: packets.Packet | None) -> None:
        """End a token with a value, or as timed out; one that is over stays as it is.

        Raises:
            LookupError: There is no such token.
        """
        found = self._found(token)
        if not found.is_open:
            return
        if value is not None:
            self._packets[token] = value
        self._tokens[token] = replace(
            found,
            status="TIMED_OUT" if value is None else "COMPLETED",
            completed_at=self._clock(),
            output=None if value is None else packets.decode(*value),
            output_is_error=value is None,
        )
        self._over[token].set()

    async def retrieve(self, token: str) -> Token:
        """A token as it is now."""
        return self._found(token)

    async def list(self, *, most: int, **filters: Unpack[TokenFilters]) -> list[TokenSummary]:
        """The newest tokens, at most so many."""
        statuses, tags = _words(filters.get("status", ())), set(_words(filters.get("tags", ())))
        key = filters.get("idempotency_key")
        newest = [
            token
            for token in reversed(self._tokens.values())
            if (not statuses or token.status in statuses)
            and (not tags or tags & {*token.tags})
            and key in (None, token.idempotency_key)
        ]
        return [*newest[:most]]

    async def result_of(self, token: str) -> WaitpointResult:
        """How a token ends, once it has."""
        await self._over[token].wait()
        if self._tokens[token].status == "TIMED_OUT":
            code, text = "TRIGGER_WAITPOINT_TIMEOUT", "The token was not completed in time"
            return WaitpointResult(id=token, ok=False, error={"code": code, "message": text})
        data, kind = self._packets[token]
        return WaitpointResult(id=token, ok=True, output=data, output_type=kind)

    def _found(self, token: str) -> Token:
        if token not in self._tokens:
            raise LookupError(f"there is no token {token!r} on this bench")
        return self._tokens[token]

    def _keyed(self, key: str, now: datetime) -> Token | None:
        for token in reversed(self._tokens.values()):
            expires_at = token.idempotency_key_expires_at
            if token.idempotency_key == key and expires_at is not None and expires_at > now:
                return token
        return None

    def _schedule(self, token: Token, now: datetime) -> None:
        loop = asyncio.get_running_loop()
        if token.timeout_at is not None:
            seconds = (token.timeout_at - now).total_seconds()
            loop.call_later(max(0.0, seconds), self.end, token.id, None)
        if self._answer is not None:
            answer, after = self._answer
            loop.call_later(after, lambda: self.end(token.id, packets.encode(answer(token))))


def _moment(timeout: Any, now: datetime) -> datetime:
    if isinstance(timeout, datetime):
        return timeout if timeout.tzinfo else timeout.replace(tzinfo=UTC)
    return now + (TIMEOUT if timeout is None else length_of(timeout))


def _life(given: Duration | None) -> timedelta:
    return KEY_LIFE if given is None else length_of(given)


def _words(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else [*given]
