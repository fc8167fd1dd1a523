"""What a running task knows about itself: `ctx`, one per run, carried by a context variable."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import NotInRun
from holdfast.machines import Machine, get_machine

if TYPE_CHECKING:
    from holdfast.runtime import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The run.

    Attributes:
        id: Its public id, ``run_…``.
        tags: Its tags when the attempt started.
        is_test: Whether it was triggered as a test.
        is_replay: Whether it repeats an earlier run.
        created_at: When it was triggered.
        started_at: When its first attempt started.
        max_attempts: How many attempts it may have.
        idempotency_key: The key as its author wrote it.
        parent_id: The run that triggered it.
        root_id: The first ancestor.
        batch_id: The batch that it is part of.
        priority: Seconds of head start in the queue.
    """

    id: str
    tags: tuple[str, ...] = ()
    is_test: bool = False
    is_replay: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    batch_id: str | None = None
    priority: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptContext:
    """The attempt: `number` counts from 1."""

    number: int = 1
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """The task: its id and the file that defines it."""

    id: str
    file_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueContext:
    """The queue that the run came from, and its lane in it."""

    id: str = ""
    name: str = ""
    concurrency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentContext:
    """The environment: `type` is DEVELOPMENT, STAGING, PREVIEW or PRODUCTION."""

    id: str = ""
    slug: str = ""
    type: str = ""
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationContext:
    """The organization."""

    id: str = ""
    slug: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectContext:
    """The project."""

    id: str = ""
    ref: str = ""
    slug: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that `ctx` offers.

    Attributes:
        run: The run.
        attempt: The attempt.
        task: The task.
        queue: The queue.
        environment: The environment.
        organization: The organization.
        project: The project.
        version: The version of the code, such as ``20261124.1``.
        machine: The machine preset.
        canceled: Set when the run was canceled or has used up its `max_duration`. An async
            function gets `asyncio.CancelledError` as well; a plain one looks here, and sleeps
            with ``ctx.canceled.wait(seconds)``.
    """

    run: RunContext
    attempt: AttemptContext
    task: TaskContext
    queue: QueueContext = field(default_factory=QueueContext)
    environment: EnvironmentContext = field(default_factory=EnvironmentContext)
    organization: OrganizationContext = field(default_factory=OrganizationContext)
    project: ProjectContext = field(default_factory=ProjectContext)
    version: str = ""
    machine: Machine = field(default_factory=lambda: get_machine(None))
    canceled: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)


_Part = TypeVar(
    "_Part", TaskContext, QueueContext, EnvironmentContext, OrganizationContext, ProjectContext
)


def from_wire(wire: Mapping[str, Any]) -> Context:
    """Build a context from the JSON form in an `Execute` message.

    Args:
        wire: Maps `run`, `attempt`, `task`, `queue`, `environment`, `organization`, `project` with
            the wire contract's camelCase keys, and `version` and `machine` (a name, or a map with
            one). What is missing keeps its default.
    """
    run, environment = wire.get("run") or {}, wire.get("environment") or {}
    attempt, machine = wire.get("attempt") or {}, wire.get("machine")
    task, queue = wire.get("task") or {}, wire.get("queue") or {}
    project, organization = wire.get("project") or {}, wire.get("organization") or {}
    return Context(
        run=_run(run, wire.get("batch") or {}),
        attempt=AttemptContext(
            number=attempt.get("number") or 1, started_at=_moment(attempt.get("startedAt"))
        ),
        task=_made(TaskContext, task.get("id") or "", task.get("filePath") or ""),
        queue=_made(
            QueueContext,
            queue.get("id") or "",
            queue.get("name") or "",
            queue.get("concurrencyKey"),
        ),
        environment=_made(
            EnvironmentContext,
            environment.get("id") or "",
            environment.get("slug") or "",
            environment.get("type") or "",
            environment.get("branch") or environment.get("branchName"),
        ),
        organization=_made(OrganizationContext, *_texts(organization, "id", "slug", "name")),
        project=_made(ProjectContext, *_texts(project, "id", "ref", "slug", "name")),
        version=_version(wire.get("version")),
        machine=get_machine(machine.get("name") if isinstance(machine, Mapping) else machine),
    )


def _run(run: Mapping[str, Any], batch: Mapping[str, Any]) -> RunContext:
    return RunContext(
        id=run.get("id") or "",
        tags=tuple(run.get("tags") or ()),
        is_test=bool(run.get("isTest")),
        is_replay=bool(run.get("isReplay")),
        created_at=_moment(run.get("createdAt")),
        started_at=_moment(run.get("startedAt")),
        max_attempts=run.get("maxAttempts"),
        idempotency_key=run.get("idempotencyKey"),
        parent_id=run.get("parentId") or run.get("parentTaskRunId"),
        root_id=run.get("rootId") or run.get("rootTaskRunId"),
        batch_id=batch.get("id"),
        priority=run.get("priority") or 0,
    )


def _texts(source: Mapping[str, Any], *names: str) -> list[str]:
    return [source.get(name) or "" for name in names]


@lru_cache(maxsize=256)
def _made(kind: type[_Part], *values: Any) -> _Part:
    """A part of a context, which is the same for most runs of a process."""
    return kind(**dict(zip((each.name for each in fields(kind)), values, strict=True)))


def _version(version: Any) -> str:
    if isinstance(version, Mapping):
        version = version.get("number") or version.get("version")
    return version or ""


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


current_run: ContextVar[RunState] = ContextVar("holdfast.run")
"""The state of the run that the calling code belongs to."""


def require_run(what: str) -> RunState:
    """The state of the current run; raises NotInRun, naming what was asked for."""
    state = current_run.get(None)
    if state is None:
        raise NotInRun(f"{what} is only available while a task is running")
    return state


class _Current:
    """Stands for the current run's `Context`, so that `ctx` can be imported once."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(require_run(f"ctx.{name}").context, name)

    def __bool__(self) -> bool:
        return current_run.get(None) is not None

    def __repr__(self) -> str:
        state = current_run.get(None)
        return repr(state.context) if state else "<ctx: no task is running>"


if TYPE_CHECKING:
    ctx: Context
else:
    ctx = _Current()
