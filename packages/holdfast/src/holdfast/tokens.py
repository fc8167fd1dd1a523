"""Where the SDK's tokens are kept: behind the API, or in the memory of a test bench."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, Unpack

from holdfast.client import HoldfastClient
from holdfast.client.tokens import Token, TokenFilters, TokenHandle, TokenOptions, TokenSummary


class TokenStore(Protocol):
    """What makes, completes and finds tokens."""

    async def create(self, **options: Unpack[TokenOptions]) -> TokenHandle:
        """Make a token, or find the one that has the idempotency key already."""

    async def complete(self, token: str, data: Any = None) -> None:
        """Complete a token; one that is over stays as it is."""

    async def retrieve(self, token: str) -> Token:
        """A token, and what it was completed with."""

    async def list(self, *, most: int, **filters: Unpack[TokenFilters]) -> list[TokenSummary]:
        """The newest tokens, at most so many."""


class RemoteTokens:
    """Tokens behind the API.

    Args:
        client: Speaks to it.
        around: Entered around every call.
    """

    def __init__(
        self,
        client: HoldfastClient,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._client = client
        self._around = around

    async def create(self, **options: Unpack[TokenOptions]) -> TokenHandle:
        """Make a token, or find the one that has the idempotency key already."""
        with self._around():
            return await self._client.tokens.create(**options)

    async def complete(self, token: str, data: Any = None) -> None:
        """Complete a token; one that is over stays as it is."""
        with self._around():
            await self._client.tokens.complete(token, data)

    async def retrieve(self, token: str) -> Token:
        """A token, and what it was completed with."""
        with self._around():
            return await self._client.tokens.retrieve(token)

    async def list(self, *, most: int, **filters: Unpack[TokenFilters]) -> list[TokenSummary]:
        """The newest tokens, at most so many."""
        found: list[TokenSummary] = []
        with self._around():
            async for token in self._client.tokens.list(size=min(most, 100), **filters):
                found.append(token)
                if len(found) >= most:
                    break
        return found
