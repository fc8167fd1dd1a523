"""Tasks: the decorator that makes one, the ways to trigger one, and the registry of a process."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, cast, overload

from holdfast import triggering
from holdfast.client.results import BatchHandle, RunHandle
from holdfast.client.triggers import BatchItem
from holdfast.errors import DuplicateTask
from holdfast.flow import OVERLAPS, Collect, Overlap, Queue
from holdfast.hooks import AnyHook, AnyMiddleware, Hooks
from holdfast.machines import get_machine
from holdfast.retry import Retry
from holdfast.schedules import Schedule, as_schedules
from holdfast.schemas import Signature, check_signature, read_signature
from holdfast.triggering import Options

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Isolation = Literal["process", "run"]

_MAX_ID = 128


class Settings(TypedDict, total=False):
    """Settings of a task that need no explanation beyond `Task`'s."""

    machine: str | None
    max_duration: float | None
    ttl: float | None
    suspend_after: float | None
    isolation: Isolation
    durable: bool
    overlap: Overlap
    collect: Collect | None
    description: str
    schedule: str | Schedule | Sequence[str | Schedule] | None


class Task(Generic[Payload, Result]):
    """A task: an (async) function of one payload with a name and a policy.

    Calling it calls the function, here and now. `trigger` and its kin start a run of it.

    Attributes:
        id: The name it is triggered by, unique in its project.
        function: The function itself.
        is_async: Whether it is awaited; otherwise it runs in a thread.
        retry: Its retry policy, or None for the project's default.
        queue: Its queue.
        machine: The machine preset, or None for the default.
        max_duration: Most execution time per attempt in seconds, waits excluded; None: no limit.
        ttl: Seconds after which a run that has not started expires; None: the platform's default.
        suspend_after: Seconds of waiting after which the worker's provider may take a snapshot of
            the process and stop it; None: the platform's default. Others keep it in memory.
        isolation: ``process`` reuses task processes, ``run`` starts a fresh one for every attempt.
        durable: Whether its steps, waits and children are recorded; see `holdfast.durable`.
        overlap: What becomes of a trigger while a run of the task (and of its concurrency key) is
            open: ``allow`` starts another, ``skip`` answers with the open one, ``queue`` lets one
            more wait for its end, ``cancel`` cancels it.
        collect: How payloads of several triggers come to one run; see `Collect`.
        description: One line for people.
        schedules: When it runs by itself.
        hooks: Its hooks and middleware.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        id: str,
        retry: Retry | None = None,
        queue: Queue | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.id = id
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.retry = retry
        self.queue = queue or Queue()
        self.machine = settings.get("machine")
        self.max_duration = settings.get("max_duration")
        self.ttl = settings.get("ttl")
        self.suspend_after = settings.get("suspend_after")
        self.isolation: Isolation = settings.get("isolation", "process")
        self.durable = settings.get("durable", False)
        self.overlap: Overlap = settings.get("overlap", "allow")
        self.collect = settings.get("collect")
        self.description = settings.get("description", "")
        self.schedules = as_schedules(settings.get("schedule"))
        self.hooks = Hooks()
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself: no run, no retry, no server."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.id!r}>"

    @cached_property
    def signature(self) -> Signature:
        """Types of its payload and result; raises SignatureError when they make no sense."""
        return read_signature(self.function)

    @property
    def file_path(self) -> str:
        """The file that defines it."""
        return str(inspect.unwrap(self.function).__code__.co_filename)

    @property
    def queue_name(self) -> str:
        """The name of the queue that its runs wait in."""
        return self.queue.name or f"task/{self.id}"

    async def trigger(
        self, payload: Payload | None = None, **options: Unpack[Options]
    ) -> RunHandle:
        """Start a run and go on.

        Args:
            payload: The payload; see `holdfast.packets.encode` for what it may hold.
            **options: See `Options`.

        Returns:
            The new run, or the run that already has the idempotency key.

        Raises:
            PayloadInvalid: The payload does not fit the annotation.
            ApiError: The server refused it, or could not be reached.
        """
        return await triggering.trigger(self.id, self._checked(payload), **options)

    async def trigger_and_wait(
        self, payload: Payload | None = None, **options: Unpack[Options]
    ) -> Result:
        """Start a child run and suspend this run until it has ended.

        Only inside a task. Several may wait at once under `asyncio.gather`.

        Args:
            payload: The payload.
            **options: See `Options`.

        Returns:
            What the child returned, as the annotated type.

        Raises:
            ChildRunFailed: The child failed, crashed, expired, timed out or was canceled.
            NotInRun: No task is running.
            PayloadInvalid: The payload does not fit the annotation.
            ApiError: The server refused it.
        """
        output = await triggering.trigger_and_wait(self.id, self._checked(payload), **options)
        return cast(Result, self.signature.validate_output(output))

    async def batch_trigger(
        self, payloads: Sequence[Payload], **options: Unpack[Options]
    ) -> BatchHandle:
        """Start one run per payload, all with the same options, and go on.

        Raises:
            PayloadInvalid: A payload does not fit the annotation; nothing is started.
            ApiError: The server refused the batch.
        """
        return await triggering.batch_trigger(self._items(payloads, options))

    async def batch_trigger_and_wait(
        self,
        payloads: Sequence[Payload],
        *,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> list[Result]:
        """Start one child run per payload and suspend this run until all have ended.

        Args:
            payloads: The payloads.
            return_exceptions: Whether a child that did not complete leaves its `ChildRunFailed` in
                the list instead of raising it, as in `asyncio.gather`.
            **options: See `Options`; the same for every child.

        Returns:
            The results in the order of the payloads.

        Raises:
            ChildRunFailed: The first child that did not complete, after all have ended.
            NotInRun: No task is running.
        """
        items = self._items(payloads, options)
        outputs = await triggering.batch_trigger_and_wait(
            items, return_exceptions=return_exceptions
        )
        return [
            cast(Result, o if isinstance(o, BaseException) else self.signature.validate_output(o))
            for o in outputs
        ]

    def trigger_sync(self, payload: Payload | None = None, **options: Unpack[Options]) -> RunHandle:
        """`trigger` for code without an event loop: plain tasks and plain programs."""
        return triggering.trigger_sync(self.id, self._checked(payload), **options)

    def trigger_and_wait_sync(
        self, payload: Payload | None = None, **options: Unpack[Options]
    ) -> Result:
        """`trigger_and_wait` for plain tasks."""
        return triggering.call_sync(self.trigger_and_wait(payload, **options))

    def batch_trigger_sync(
        self, payloads: Sequence[Payload], **options: Unpack[Options]
    ) -> BatchHandle:
        """`batch_trigger` for code without an event loop."""
        return triggering.batch_trigger_sync(self._items(payloads, options))

    def batch_trigger_and_wait_sync(
        self,
        payloads: Sequence[Payload],
        *,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> list[Result]:
        """`batch_trigger_and_wait` for plain tasks."""
        return triggering.call_sync(
            self.batch_trigger_and_wait(payloads, return_exceptions=return_exceptions, **options)
        )

    def on_start(self, hook: AnyHook) -> AnyHook:
        """Run `hook` before every attempt of this task."""
        return self.hooks.on_start(hook)

    def on_success(self, hook: AnyHook) -> AnyHook:
        """Run `hook` after an attempt of this task has returned."""
        return self.hooks.on_success(hook)

    def on_failure(self, hook: AnyHook) -> AnyHook:
        """Run `hook` when a run of this task has failed for good."""
        return self.hooks.on_failure(hook)

    def on_complete(self, hook: AnyHook) -> AnyHook:
        """Run `hook` when a run of this task has ended."""
        return self.hooks.on_complete(hook)

    def on_cancel(self, hook: AnyHook) -> AnyHook:
        """Run `hook` when an executing run of this task was canceled."""
        return self.hooks.on_cancel(hook)

    def on_wait(self, hook: AnyHook) -> AnyHook:
        """Run `hook` before a run of this task is suspended."""
        return self.hooks.on_wait(hook)

    def on_resume(self, hook: AnyHook) -> AnyHook:
        """Run `hook` after a run of this task was resumed."""
        return self.hooks.on_resume(hook)

    def middleware(self, wrapper: AnyMiddleware) -> AnyMiddleware:
        """Wrap every attempt of this task."""
        return self.hooks.middleware(wrapper)

    def _checked(self, payload: Any) -> Any:
        """The payload, after it was seen to fit: an error belongs where the mistake is."""
        if self.signature.takes_payload:
            whole = payload if self.collect is None else [payload]
            self.signature.validate_payload(whole, task_id=self.id)
        elif payload is not None:
            raise TypeError(f"task {self.id!r} takes no payload")
        return payload

    def _items(self, payloads: Sequence[Payload], options: Options) -> list[BatchItem]:
        return [triggering.item(self.id, self._checked(payload), **options) for payload in payloads]


class Registry:
    """The tasks of a process, by id.

    Attributes:
        default_retry: The policy of tasks that name none.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}
        self.default_retry = Retry()

    def add(self, new: Task[Any, Any]) -> None:
        """Add a task.

        Raises:
            DuplicateTask: Another function already has the id. The same function, imported once
                more, takes the older one's place.
        """
        old = self._tasks.get(new.id)
        if old is not None and _place(old) != _place(new):
            raise DuplicateTask(
                f"two tasks have the id {new.id!r}: {':'.join(_place(old))} and "
                f"{':'.join(_place(new))}"
            )
        self._tasks[new.id] = new

    def get(self, task_id: str) -> Task[Any, Any] | None:
        """The task of this id, if there is one."""
        return self._tasks.get(task_id)

    def clear(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()

    def __iter__(self) -> Iterator[Task[Any, Any]]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


registry = Registry()
"""The tasks that were defined in this process."""


def _place(task: Task[Any, Any]) -> tuple[str, str]:
    return str(Path(task.file_path).resolve()), getattr(task.function, "__qualname__", "")


@overload
def task(function: Callable[[], Awaitable[Result]], /) -> Task[None, Result]: ...
@overload
def task(function: Callable[[Payload], Awaitable[Result]], /) -> Task[Payload, Result]: ...
@overload
def task(function: Callable[[], Result], /) -> Task[None, Result]: ...
@overload
def task(function: Callable[[Payload], Result], /) -> Task[Payload, Result]: ...
@overload
def task(
    *,
    id: str | None = None,
    retry: Retry | int | dict[str, Any] | None = None,
    queue: Queue | str | None = None,
    **settings: Unpack[Settings],
) -> TaskDecorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    **settings: Any,
) -> Any:
    """Make a task of an async or plain function that takes at most one argument, the payload.

    A plain function runs in a thread, with the same `ctx`.

    Args:
        function: The function, when the decorator is used without parentheses.
        **settings: `id` (default: the function's name), `retry` (a `Retry`, a number of attempts
            or a mapping; default: three attempts, 1 s doubling to 60 s), `queue` (a name or a
            `Queue`), `machine` (a preset's name), `max_duration` (seconds of execution time),
            `ttl` (seconds), `suspend_after` (seconds of waiting), `isolation` (``process`` or
            ``run``), `durable` (recorded steps), `description`, `schedule` (a cron, or what
            `schedule` makes, or several of them).

    Returns:
        The task, which can still be called as the function was.

    Raises:
        ValueError: A setting is out of range.
        SignatureError: The function needs more than one argument.
        DuplicateTask: Another function already has this id.
    """
    decorator = TaskDecorator(settings)
    return decorator if function is None else decorator(function)


class TaskDecorator:
    """What ``@task(…)`` returns: settings that wait for their function."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    @overload
    def __call__(self, function: Callable[[], Awaitable[Result]], /) -> Task[None, Result]: ...
    @overload
    def __call__(
        self, function: Callable[[Payload], Awaitable[Result]], /
    ) -> Task[Payload, Result]: ...
    @overload
    def __call__(self, function: Callable[[], Result], /) -> Task[None, Result]: ...
    @overload
    def __call__(self, function: Callable[[Payload], Result], /) -> Task[Payload, Result]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make and register the task."""
        made = _make(function, **self._settings)
        registry.add(made)
        return made


def _make(
    function: Callable[..., Any],
    *,
    id: str | None = None,
    retry: Retry | int | dict[str, Any] | None = None,
    queue: Queue | str | None = None,
    **settings: Unpack[Settings],
) -> Task[Any, Any]:
    check_signature(function)
    name = str(id or getattr(function, "__name__", ""))
    if not name or len(name) > _MAX_ID:
        raise ValueError(f"a task's id is 1 to {_MAX_ID} characters, not {name!r}")
    _check(settings)
    doc = inspect.getdoc(function) or ""
    settings["description"] = settings.get("description") or doc.partition("\n")[0]
    return Task(
        function,
        id=name,
        retry=None if retry is None else Retry.of(retry),
        queue=Queue(name=queue) if isinstance(queue, str) else queue,
        **settings,
    )


def _check(settings: Settings) -> None:
    if settings.get("machine") is not None:
        get_machine(settings.get("machine"))
    duration, ttl = settings.get("max_duration"), settings.get("ttl")
    if duration is not None and duration <= 0:
        raise ValueError("max_duration must be more than 0 seconds")
    suspend_after = settings.get("suspend_after")
    if suspend_after is not None and suspend_after < 0:
        raise ValueError("suspend_after must not be negative")
    if ttl is not None and ttl < 0:
        raise ValueError("ttl must not be negative")
    if settings.get("isolation", "process") not in ("process", "run"):
        raise ValueError("isolation must be 'process' or 'run'")
    if settings.get("overlap", "allow") not in OVERLAPS:
        raise ValueError(f"overlap must be one of {', '.join(OVERLAPS)}")
    if settings.get("collect") is not None and settings.get("overlap", "allow") != "allow":
        raise ValueError("a task that collects payloads has no overlap")
