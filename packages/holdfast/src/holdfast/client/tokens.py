"""Tokens: what runs wait for until a person or another system completes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from holdfast import packets
from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast.client.results import Page, Result, read, read_page
from holdfast.client.surface import Group, operation, paged
from holdfast.client.triggers import Duration, duration_text, moment_text

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)

_PATH = "/api/v1/waitpoints/tokens"


class TokenOptions(TypedDict, total=False):
    """How a token is made; every key is optional.

    Attributes:
        timeout: When it times out: seconds, a `timedelta`, text like ``"1h30m"``, or a `datetime`.
            Ten minutes by default, ten years at most.
        tags: One, or up to ten.
        idempotency_key: The same key answers with the same token, over or not.
        idempotency_key_ttl: How long the key is remembered; an hour by default.
    """

    timeout: Duration | datetime
    tags: str | Sequence[str]
    idempotency_key: str
    idempotency_key_ttl: Duration


class TokenFilters(TypedDict, total=False):
    """Which tokens a list has; every key is optional.

    Attributes:
        status: One or more of ``WAITING``, ``COMPLETED``, ``TIMED_OUT``.
        tags: One or more tags; a token has at least one of them.
        idempotency_key: The key that it was made with.
        period: How far back, such as ``7d``.
        created_from: Not older than this.
        created_to: Not younger than this.
    """

    status: str | Sequence[str]
    tags: str | Sequence[str]
    idempotency_key: str
    period: str
    created_from: datetime
    created_to: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHandle(Result):
    """A token that was made.

    Attributes:
        id: Its id, ``waitpoint_…``.
        url: Whoever posts JSON to it completes the token; it has its own secret in it.
        is_cached: Whether an earlier token had the idempotency key.
        public_access_token: For a browser: it may complete this token, for a day.
    """

    id: str
    url: str = ""
    is_cached: bool = False
    public_access_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSummary(Result):
    """A token as lists show it; `status` is ``WAITING``, ``COMPLETED`` or ``TIMED_OUT``."""

    id: str
    status: str
    created_at: datetime
    url: str = ""
    timeout_at: datetime | None = None
    completed_at: datetime | None = None
    idempotency_key: str | None = None
    idempotency_key_expires_at: datetime | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it can still be completed."""
        return self.status == "WAITING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(TokenSummary):
    """A token with the value that it was completed with."""

    output: Any = None
    output_type: str | None = None
    output_is_error: bool = False


_FILTERS = {
    "status": "filter[status]",
    "tags": "filter[tags]",
    "idempotency_key": "filter[idempotencyKey]",
    "period": "filter[createdAt][period]",
    "created_from": "filter[createdAt][from]",
    "created_to": "filter[createdAt][to]",
}


class Tokens(Group[Transport]):
    """``client.tokens``."""

    @operation
    def create(self, **options: Unpack[TokenOptions]) -> Flow[TokenHandle]:
        """Make a token, or find the one that has the idempotency key already."""
        return self._send(
            Call(method="POST", path=_PATH, body=_body(options), parse=read(TokenHandle))
        )

    @operation
    def complete(self, token: str, data: Any = None) -> Flow[None]:
        """Complete a token with a value; one that is over stays as it is.

        Args:
            token: Its id.
            data: What `holdfast.packets.encode` takes; at most 3 MiB encoded.
        """
        packet = packets.encode(data)
        body = {} if packet.data is None else {"data": packet.data, "dataType": packet.data_type}
        return self._send(
            Call(method="POST", path=_path(token, "/complete"), body=body, parse=_nothing)
        )

    @operation
    def retrieve(self, token: str) -> Flow[Token]:
        """A token, and what it was completed with."""
        return self._retrieve(token)

    @paged
    def list(
        self, *, size: int | None = None, after: str | None = None, **filters: Unpack[TokenFilters]
    ) -> Call[Page[TokenSummary]]:
        """Tokens, newest first."""
        query: dict[str, Any] = {"page[size]": size, "page[after]": after}
        for name, value in filters.items():
            query[_FILTERS[name]] = value.isoformat() if isinstance(value, datetime) else value
        return Call(method="GET", path=_PATH, query=query, parse=read_page(TokenSummary))

    def _retrieve(self, token: str) -> Flow[Token]:
        found = yield from self._send(Call(method="GET", path=_path(token), parse=read(Token)))
        kind = found.output_type or packets.JSON
        return replace(found, output=packets.decode(found.output, kind))


def _body(options: TokenOptions) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    if (timeout := options.get("timeout")) is not None:
        wire["timeout"] = moment_text(timeout)
    if (tags := options.get("tags")) is not None:
        wire["tags"] = [tags] if isinstance(tags, str) else [*tags]
    if (key := options.get("idempotency_key")) is not None:
        wire["idempotencyKey"] = key
    if (ttl := options.get("idempotency_key_ttl")) is not None:
        wire["idempotencyKeyTTL"] = duration_text(ttl)
    return wire


def _path(token: str, rest: str = "") -> str:
    return f"{_PATH}/{quote(token, safe='')}{rest}"


def _nothing(_response: Any) -> None:
    return None
