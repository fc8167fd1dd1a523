"""Triggering runs by task id, from any program with a key and from inside of tasks.

Async functions are the real ones. Each has a `…_sync` twin for code without an event loop: inside
a plain task it goes through the task's own runtime, elsewhere through a sync client.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

from holdfast import packets
from holdfast.client import HoldfastClient, SyncHoldfastClient
from holdfast.client.results import BatchHandle, RunHandle, RunResult
from holdfast.client.triggers import BatchItem, Debounce, Duration, TriggerOptions
from holdfast.context import current_run, require_run
from holdfast.errors import ChildRunFailed
from holdfast.flow import Overlap
from holdfast.protocol import WaitpointResult
from holdfast.runtime import RunState
from holdfast.tags import check_tags

T = TypeVar("T")
Scope = Literal["run", "attempt", "global"]


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key under which only one run is started.

    Attributes:
        key: The key as people write it.
        scope: ``run``: once per run that triggers (outside of runs the same as ``global``);
            ``attempt``: once per attempt; ``global``: once per environment and task.
    """

    key: str
    scope: Scope = "run"

    def prefix(self) -> list[str]:
        """What the scope adds before the key: the run and the attempt that it is used in."""
        state = current_run.get(None)
        if state is None or self.scope == "global":
            return []
        run, attempt = state.context.run.id, str(state.context.attempt.number)
        return [run, attempt] if self.scope == "attempt" else [run]


class Options(TypedDict, total=False):
    """Options of a trigger; all may be left out.

    Attributes:
        delay: Start later: seconds, a `timedelta`, text like ``"1h30m"``, or a `datetime`.
        ttl: Expire when not started by then; 0 means never.
        idempotency_key: Start only one run per key; text means scope ``run``.
        idempotency_key_ttl: How long the key is remembered.
        tags: Up to ten.
        metadata: The run's first metadata, a JSON object.
        queue: Another queue than the task's own.
        concurrency_key: A lane of the queue of its own.
        priority: Seconds of head start in the queue.
        machine: A preset, such as ``small-2x``.
        max_attempts: Instead of the retry policy's.
        max_duration: Seconds of execution time, instead of the task's.
        version: Run exactly this version, such as ``20261124.1``.
        test: Mark the run as a test.
        debounce: Push one run on instead of starting more:
            ``{"key": "user_1", "delay": "5s", "mode": "trailing", "max_delay": "1m"}``.
        overlap: ``allow``, ``skip``, ``queue`` or ``cancel``, instead of the task's own.
    """

    delay: Duration | datetime
    ttl: Duration
    idempotency_key: str | IdempotencyKey
    idempotency_key_ttl: Duration
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    queue: str
    concurrency_key: str
    priority: float
    machine: str
    max_attempts: int
    max_duration: float
    version: str
    test: bool
    debounce: Debounce
    overlap: Overlap


def item(task: str, payload: Any = None, **options: Unpack[Options]) -> BatchItem:
    """One run of a batch: `batch_trigger([item("resize", {"url": url}, tags=["a"]), …])`."""
    return BatchItem(task=task, payload=payload, options=_prepared(options))


async def trigger(task: str, payload: Any = None, **options: Unpack[Options]) -> RunHandle:
    """Start a run of a task by its id.

    Inside a task the new run becomes a child of the current one. Elsewhere, the server and the
    key come from ``HOLDFAST_API_URL`` and ``HOLDFAST_SECRET_KEY``.

    Args:
        task: The id of the task.
        payload: The payload.
        **options: See `Options`.

    Raises:
        ApiError: The server refused it, or could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        return await state.runtime.trigger(task, payload, _as_child(state, _prepared(options)))
    async with HoldfastClient() as client:
        return await client.trigger(task, payload, **_prepared(options))


async def trigger_and_wait(task: str, payload: Any = None, **options: Unpack[Options]) -> Any:
    """Start a child run by its task's id and suspend the current run until it has ended.

    Returns:
        What the child returned.

    Raises:
        ChildRunFailed: The child did not complete.
        NotInRun: No task is running.
    """
    state = require_run("trigger_and_wait")
    handle = await state.runtime.trigger(task, payload, _as_child(state, _prepared(options), True))
    result = await state.runtime.wait_for_run(handle)
    if not result.ok:
        raise ChildRunFailed(run_id=result.run or handle.id, task_id=task, error=_error(result))
    return packets.decode(result.output, result.output_type)


async def batch_trigger(items: Sequence[BatchItem]) -> BatchHandle:
    """Start many runs, of one or of several tasks; make the items with `item`.

    Raises:
        ApiError: The server refused the batch, or could not be reached.
    """
    state = current_run.get(None)
    if state is not None:
        return await state.runtime.batch_trigger(items, _as_child(state, TriggerOptions()))
    async with HoldfastClient() as client:
        return await client.batch_trigger(items)


async def batch_trigger_and_wait(
    items: Sequence[BatchItem], *, return_exceptions: bool = False
) -> list[Any]:
    """Start many child runs and suspend the current run until all have ended.

    Args:
        items: Made with `item`; they may be of different tasks.
        return_exceptions: Whether a child that did not complete leaves its `ChildRunFailed` in the
            list instead of raising it.

    Returns:
        The results in the order of the items.

    Raises:
        ChildRunFailed: The first child that did not complete, after all have ended.
        NotInRun: No task is running.
    """
    state = require_run("batch_trigger_and_wait")
    if not items:
        return []
    handle = await state.runtime.batch_trigger(items, _as_child(state, TriggerOptions(), True))
    results = await state.runtime.wait_for_batch(handle)
    outputs = [_output(result, item) for result, item in zip(results, items, strict=True)]
    failures = [output for output in outputs if isinstance(output, ChildRunFailed)]
    if failures and not return_exceptions:
        raise failures[0]
    return outputs


def trigger_sync(task: str, payload: Any = None, **options: Unpack[Options]) -> RunHandle:
    """`trigger` for code without an event loop.

    Raises:
        RuntimeError: It was called on the thread of a running event loop.
    """
    if current_run.get(None) is not None:
        return call_sync(trigger(task, payload, **options))
    refuse_running_loop("trigger")
    with SyncHoldfastClient() as client:
        return client.trigger(task, payload, **_prepared(options))


def batch_trigger_sync(items: Sequence[BatchItem]) -> BatchHandle:
    """`batch_trigger` for code without an event loop."""
    if current_run.get(None) is not None:
        return call_sync(batch_trigger(items))
    refuse_running_loop("batch_trigger")
    with SyncHoldfastClient() as client:
        return client.batch_trigger(items)


def call_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of this package from the thread of a plain task, and wait for it.

    Raises:
        RuntimeError: It was called on the thread of a running event loop: await it instead.
        NotInRun: No task is running.
    """
    try:
        refuse_running_loop("the function")
        state = require_run("a …_sync function")
    except BaseException:
        coroutine.close()
        raise
    return asyncio.run_coroutine_threadsafe(_counted(coroutine, state), state.loop).result()


async def _counted(coroutine: Coroutine[Any, Any, T], state: RunState) -> T:
    """Count the thread as blocked from the event loop's side, where it cannot be seen halfway."""
    state.blocked_threads += 1
    try:
        return await coroutine
    finally:
        state.blocked_threads -= 1


def refuse_running_loop(name: str) -> None:
    """Raise RuntimeError where an event loop is running: `name` must be awaited there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"an event loop is running here: use `await {name}(…)` without _sync")


def _prepared(options: Options) -> TriggerOptions:
    """Options as the client takes them: keys hashed, tags checked."""
    check_tags(tuple(options.get("tags", ())))
    prepared: dict[str, Any] = dict(options)
    key = prepared.get("idempotency_key")
    if key is not None:
        scoped = key if isinstance(key, IdempotencyKey) else IdempotencyKey(key)
        prepared["idempotency_key"] = _hashed(scoped)
        prepared["idempotency_key_options"] = {"key": scoped.key, "scope": scoped.scope}
    return cast(TriggerOptions, prepared)


def _hashed(key: IdempotencyKey) -> str:
    """The key and what its scope adds, joined and hashed as the wire contract's clients do."""
    return hashlib.sha256("-".join([key.key, *key.prefix()]).encode()).hexdigest()


def _as_child(
    state: RunState, options: TriggerOptions, resume_parent: bool = False
) -> TriggerOptions:
    options["parent_run_id"] = state.context.run.id
    if resume_parent:
        options["resume_parent"] = True
        if state.context.version:
            options.setdefault("version", state.context.version)
    if state.traceparent:
        options["traceparent"] = state.traceparent
    return options


def _error(result: WaitpointResult) -> dict[str, Any] | None:
    return result.error


def _output(result: RunResult, item: BatchItem) -> Any:
    if result.ok:
        return result.output
    return ChildRunFailed(run_id=result.id, task_id=item.task, error=result.error)
