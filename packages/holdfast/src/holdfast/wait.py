"""Waiting inside of a task, for times, tokens and inputs, alone or several at once.

    from holdfast import task, wait

    @task
    async def publish(post: str) -> str:
        token = await wait.create_token(timeout="3d", tags=[f"post:{post}"])
        await ask_editor(post, token.url)
        answer = await wait.for_token(token)
        return "published" if answer.ok else "nobody answered"

A run that waits is ``WAITING``: it holds no slot, however short the wait, and its execution time
stands still. Tokens may be made and completed anywhere; waiting is only possible while a task
runs. Each function that waits has a `…_sync` twin for plain functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast, overload

import pydantic

from holdfast import packets
from holdfast.client import HoldfastClient, SyncHoldfastClient
from holdfast.client.tokens import Token, TokenFilters, TokenHandle, TokenOptions, TokenSummary
from holdfast.client.triggers import Duration
from holdfast.context import current_run, require_run
from holdfast.durations import length_of
from holdfast.errors import InputInvalid, InputTimedOut, TokenInvalid, TokenTimedOut
from holdfast.protocol import WaitpointResult
from holdfast.schemas import problems
from holdfast.tokens import RemoteTokens
from holdfast.triggering import IdempotencyKey, call_sync, refuse_running_loop

__all__ = [
    "First",
    "InputResult",
    "Token",
    "TokenHandle",
    "TokenResult",
    "TokenSummary",
    "all_of",
    "any_of",
    "complete_token",
    "complete_token_sync",
    "create_token",
    "create_token_sync",
    "for_",
    "for_input",
    "for_input_sync",
    "for_sync",
    "for_token",
    "for_token_sync",
    "list_tokens",
    "list_tokens_sync",
    "retrieve_token",
    "retrieve_token_sync",
    "until",
    "until_sync",
]

T = TypeVar("T")

_MOST_LISTED = 100
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResult(Generic[T]):
    """How a token ended that a run waited for.

    Attributes:
        ok: Whether it was completed.
        output: What it was completed with; None when it was not.
        error: Why it was not.
    """

    ok: bool
    output: T | None = None
    error: TokenTimedOut | None = None

    def unwrap(self) -> T:
        """What it was completed with.

        Raises:
            TokenTimedOut: It was not completed in time.
        """
        if self.error is not None:
            raise self.error
        return cast(T, self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputResult(Generic[T]):
    """What came of waiting for an input.

    Attributes:
        ok: Whether something was sent.
        output: The item; None when there was none.
        error: Why there was none.
    """

    ok: bool
    output: T | None = None
    error: InputTimedOut | None = None

    def unwrap(self) -> T:
        """The item.

        Raises:
            InputTimedOut: Nothing was sent in time.
        """
        if self.error is not None:
            raise self.error
        return cast(T, self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class First(Generic[T]):
    """What came first of several waits.

    Attributes:
        index: Which of them it was, from 0.
        result: What it returned.
    """

    index: int
    result: T


# -- Times -------------------------------------------------------------------------------------


class Lengths(TypedDict, total=False):
    """A length of time in parts, which are added up.

    Attributes:
        weeks: Of seven days.
        days: Of 24 hours.
        hours: …
        minutes: …
        seconds: …
        idempotency_key: Names the wait within its run: when the run is tried again, the time goes
            on that began in the earlier attempt.
    """

    weeks: float
    days: float
    hours: float
    minutes: float
    seconds: float
    idempotency_key: str | None


async def for_(length: Duration | None = None, **parts: Unpack[Lengths]) -> None:
    """Wait for a length of time, and go on within about a second of its end.

        await wait.for_(hours=1, minutes=30)
        await wait.for_("1h30m")

    Args:
        length: Seconds, a `timedelta`, or text like ``"1h30m"``.
        **parts: `weeks`, `days`, `hours`, `minutes`, `seconds`, added up and to `length`; and
            `idempotency_key`; see `Lengths`.

    Raises:
        NotInRun: No task is running.
        ValueError: The length is negative, or no length.
    """
    key = parts.get("idempotency_key")
    whole = _sum(parts) + (timedelta(0) if length is None else length_of(length))
    if whole < timedelta(0):
        raise ValueError(f"a wait must not be negative: {whole}")
    runtime = require_run("wait.for_").runtime
    await runtime.wait_until(runtime.now() + whole, key=key)


async def until(moment: datetime, *, idempotency_key: str | None = None) -> None:
    """Wait until a moment; one that is over returns at once.

    Args:
        moment: One without a time zone is UTC.
        idempotency_key: Names the wait within its run: when the run is tried again, the moment
            counts that the earlier attempt named.

    Raises:
        NotInRun: No task is running.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    await require_run("wait.until").runtime.wait_until(aware, key=idempotency_key)


# -- Tokens ------------------------------------------------------------------------------------


class CreateOptions(TypedDict, total=False):
    """How a token is made; every key is optional.

    Attributes:
        timeout: When it times out: seconds, a `timedelta`, text like ``"1h30m"``, or a `datetime`.
            Ten minutes by default, ten years at most.
        tags: One, or up to ten.
        idempotency_key: The same key answers with the same token, over or not. Text means once per
            run, inside of runs.
        idempotency_key_ttl: How long the key is remembered; an hour by default.
    """

    timeout: Duration | datetime
    tags: str | Sequence[str]
    idempotency_key: str | IdempotencyKey
    idempotency_key_ttl: Duration


async def create_token(**options: Unpack[CreateOptions]) -> TokenHandle:
    """Make a token, which a person or another system completes: by its `url`, in a browser by its
    `public_access_token`, by `complete_token`, or on the dashboard.

    Args:
        **options: `timeout` (ten minutes by default), `tags`, `idempotency_key`,
            `idempotency_key_ttl`; see `CreateOptions`.

    Raises:
        ApiError: The server refused it, or could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        return await state.runtime.tokens.create(**_prepared(options))
    async with HoldfastClient() as client:
        return await client.tokens.create(**_prepared(options))


@overload
async def for_token(token: str | TokenHandle) -> TokenResult[Any]: ...
@overload
async def for_token(token: str | TokenHandle, type: type[T]) -> TokenResult[T]: ...
async def for_token(token: str | TokenHandle, type: Any = None) -> TokenResult[Any]:
    """Wait until a token was completed, or has timed out.

    Args:
        token: The token, or its id.
        type: What `output` is to be: anything that pydantic validates.

    Returns:
        How it ended; ``(await wait.for_token(token)).unwrap()`` is the value, or raises.

    Raises:
        NotInRun: No task is running.
        TokenInvalid: It was completed with something else than `type`.
    """
    identifier = _id(token)
    result = await require_run("wait.for_token").runtime.wait_for_token(identifier)
    return _result(identifier, result, type)


async def complete_token(token: str | TokenHandle, data: Any = None) -> None:
    """Complete a token; one that is over stays as it is.

    Args:
        token: The token, or its id.
        data: The value: what `holdfast.packets.encode` takes.

    Raises:
        ApiError: There is no such token, or the server could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        await state.runtime.tokens.complete(_id(token), data)
        return
    async with HoldfastClient() as client:
        await client.tokens.complete(_id(token), data)


async def retrieve_token(token: str | TokenHandle) -> Token:
    """A token as it is now, with what it was completed with.

    Raises:
        ApiError: There is no such token, or the server could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        return await state.runtime.tokens.retrieve(_id(token))
    async with HoldfastClient() as client:
        return await client.tokens.retrieve(_id(token))


async def list_tokens(
    *, most: int = _MOST_LISTED, **filters: Unpack[TokenFilters]
) -> list[TokenSummary]:
    """Tokens of the environment, newest first.

    Args:
        most: How many at most.
        **filters: See `TokenFilters`.

    Raises:
        ApiError: The server refused it, or could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        return await state.runtime.tokens.list(most=most, **filters)
    async with HoldfastClient() as client:
        return await RemoteTokens(client).list(most=most, **filters)


# -- Inputs ------------------------------------------------------------------------------------


class InputOptions(TypedDict, total=False):
    """How an input is waited for; every key is optional.

    Attributes:
        timeout: How long: seconds, a `timedelta`, text like ``"1h30m"``; or until when, a
            `datetime`. For ever by default.
    """

    timeout: Duration | datetime | None


@overload
async def for_input(key: str, **options: Unpack[InputOptions]) -> InputResult[Any]: ...
@overload
async def for_input(key: str, type: type[T], **options: Unpack[InputOptions]) -> InputResult[T]: ...
async def for_input(
    key: str, type: Any = None, **options: Unpack[InputOptions]
) -> InputResult[Any]:
    """Wait for the next item that is sent to an input of this run.

        answer = (await wait.for_input("approval", Approval, timeout="3d")).unwrap()

    Anybody who may write the run's inputs sends to it at any time before the run's end:
    ``client.runs.send_input(run, "approval", …)``, ``holdfast runs send-input``, or a browser with
    a public token that has ``write:inputStreams:<run>``. Items are kept, and an attempt takes each
    once, in the order in which they were sent; who waits first gets the next. A new attempt begins
    with the first again, as with the payload; a durable run goes on with the first that it has not
    recorded.

    Args:
        key: The input's name, of the task's own choice; 1 to 255 characters.
        type: What the item is to be: anything that pydantic validates.
        **options: `timeout`; see `InputOptions`.

    Returns:
        The item, or that there was none.

    Raises:
        NotInRun: No task is running.
        ValueError: The key is empty or too long.
        InputInvalid: The item is not a `type`.
    """
    if not 0 < len(key) <= _LONGEST_KEY:
        raise ValueError(f"the name of an input has 1 to {_LONGEST_KEY} characters")
    runtime = require_run("wait.for_input").runtime
    result = await runtime.wait_for_input(key, until=_until(options.get("timeout"), runtime.now()))
    if not result.ok:
        return InputResult(ok=False, error=InputTimedOut(key))
    value = packets.decode(result.output, result.output_type)
    if type is None:
        return InputResult(ok=True, output=value)
    try:
        return InputResult(ok=True, output=pydantic.TypeAdapter(type).validate_python(value))
    except pydantic.ValidationError as error:
        raise InputInvalid(key, problems(error)) from None


def _until(timeout: Duration | datetime | None, now: datetime) -> datetime | None:
    if timeout is None:
        return None
    if isinstance(timeout, datetime):
        return timeout if timeout.tzinfo else timeout.replace(tzinfo=UTC)
    return now + length_of(timeout)


# -- Several at once ---------------------------------------------------------------------------


async def any_of(*waits: Awaitable[T]) -> First[T]:
    """Wait for the first of several: waits, child runs, batches, or anything that is awaited.

    The others are cancelled, as asyncio cancels tasks: the run does not wait for them any more. A
    child run among them goes on by itself.

    Args:
        *waits: ``wait.for_token(…)``, ``wait.for_input(…)``, ``wait.for_(…)``,
            ``child.trigger_and_wait(…)``, …. An item that came for one of the others is kept.

    Returns:
        Which came first, and what it returned; of several at the same moment, the leftmost.

    Raises:
        Exception: What the first one raised.
        ValueError: Nothing was given to wait for.
    """
    if not waits:
        raise ValueError("any_of needs something to wait for")
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        index = next(index for index, each in enumerate(tasks) if each.done())
    finally:
        await _cancel(tasks)
    return First(index=index, result=tasks[index].result())


async def all_of(*waits: Awaitable[T]) -> list[T]:
    """Wait for all of several; the first that fails cancels the others.

    Args:
        *waits: As of `any_of`.

    Returns:
        What they returned, in their order.

    Raises:
        Exception: What the first one raised that failed.
    """
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Future[T]]) -> None:
    """Cancel what is under way, and let it end."""
    losers = [each for each in tasks if not each.done()]
    for loser in losers:
        loser.cancel()
    if losers:
        await asyncio.gather(*losers, return_exceptions=True)
    for each in tasks:
        if each.done() and not each.cancelled():
            each.exception()  # it may have failed in the same moment: nobody else looks at it


# -- For plain functions -----------------------------------------------------------------------


def for_sync(length: Duration | None = None, **parts: Unpack[Lengths]) -> None:
    """`for_` for plain tasks."""
    call_sync(for_(length, **parts))


def until_sync(moment: datetime, *, idempotency_key: str | None = None) -> None:
    """`until` for plain tasks."""
    call_sync(until(moment, idempotency_key=idempotency_key))


@overload
def for_token_sync(token: str | TokenHandle) -> TokenResult[Any]: ...
@overload
def for_token_sync(token: str | TokenHandle, type: type[T]) -> TokenResult[T]: ...
def for_token_sync(token: str | TokenHandle, type: Any = None) -> TokenResult[Any]:
    """`for_token` for plain tasks."""
    return call_sync(for_token(token, type))


@overload
def for_input_sync(key: str, *, timeout: Duration | datetime | None = None) -> InputResult[Any]: ...
@overload
def for_input_sync(
    key: str, type: type[T], *, timeout: Duration | datetime | None = None
) -> InputResult[T]: ...
def for_input_sync(
    key: str, type: Any = None, *, timeout: Duration | datetime | None = None
) -> InputResult[Any]:
    """`for_input` for plain tasks."""
    return call_sync(for_input(key, type, timeout=timeout))


def create_token_sync(**options: Unpack[CreateOptions]) -> TokenHandle:
    """`create_token` for code without an event loop: plain tasks and plain programs."""
    if current_run.get(None) is not None:
        return call_sync(create_token(**options))
    refuse_running_loop("create_token")
    with SyncHoldfastClient() as client:
        return client.tokens.create(**_prepared(options))


def complete_token_sync(token: str | TokenHandle, data: Any = None) -> None:
    """`complete_token` for code without an event loop."""
    if current_run.get(None) is not None:
        call_sync(complete_token(token, data))
        return
    refuse_running_loop("complete_token")
    with SyncHoldfastClient() as client:
        client.tokens.complete(_id(token), data)


def retrieve_token_sync(token: str | TokenHandle) -> Token:
    """`retrieve_token` for code without an event loop."""
    if current_run.get(None) is not None:
        return call_sync(retrieve_token(token))
    refuse_running_loop("retrieve_token")
    with SyncHoldfastClient() as client:
        return client.tokens.retrieve(_id(token))


def list_tokens_sync(
    *, most: int = _MOST_LISTED, **filters: Unpack[TokenFilters]
) -> list[TokenSummary]:
    """`list_tokens` for code without an event loop."""
    if current_run.get(None) is not None:
        return call_sync(list_tokens(most=most, **filters))
    refuse_running_loop("list_tokens")
    found: list[TokenSummary] = []
    with SyncHoldfastClient() as client:
        for token in client.tokens.list(size=min(most, _MOST_LISTED), **filters):
            found.append(token)
            if len(found) >= most:
                break
    return found


def _sum(parts: Lengths) -> timedelta:
    return timedelta(
        weeks=parts.get("weeks", 0),
        days=parts.get("days", 0),
        hours=parts.get("hours", 0),
        minutes=parts.get("minutes", 0),
        seconds=parts.get("seconds", 0),
    )


def _id(token: str | TokenHandle) -> str:
    return token if isinstance(token, str) else token.id


def _prepared(options: CreateOptions) -> TokenOptions:
    """Options as the client takes them: a key of a run's own has the run in it."""
    prepared: dict[str, Any] = dict(options)
    key = prepared.get("idempotency_key")
    if key is not None:
        scoped = key if isinstance(key, IdempotencyKey) else IdempotencyKey(key)
        prepared["idempotency_key"] = ":".join([*scoped.prefix(), scoped.key])
    return cast(TokenOptions, prepared)


def _result(token: str, result: WaitpointResult, type: Any) -> TokenResult[Any]:
    if not result.ok:
        return TokenResult(ok=False, error=TokenTimedOut(token, result.error))
    value = packets.decode(result.output, result.output_type)
    if type is None:
        return TokenResult(ok=True, output=value)
    try:
        return TokenResult(ok=True, output=pydantic.TypeAdapter(type).validate_python(value))
    except pydantic.ValidationError as error:
        raise TokenInvalid(token, problems(error)) from None
