"""What a build says about itself: its tasks and queues, checked whole before any of it is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AliasChoices, ConfigDict, Field
from pydantic.alias_generators import to_camel

from apps.core.durations import parse_duration
from apps.core.errors import Invalid
from apps.core.recurrence import parse_cron, parse_timezone, parse_window
from apps.environments.types import EnvironmentType, is_slug
from holdfast.machines import DEFAULT_MACHINE, MACHINES

TASKS_PER_VERSION = 1_000
QUEUES_PER_VERSION = 1_000
NAME_LENGTH = 128
MOST_COLLECTED = 1_000
SCHEMA_BYTES = 256 * 1024
SCHEDULES_PER_TASK = 100
CARRIED_BYTES = 128 * 1024
_TAGS = 100  # how many a run may have, the trigger decides
_PROBLEMS_SHOWN = 20
_SECONDS = 10 * 365 * 86_400
TASK_QUEUE_PREFIX = "task/"


def _name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("must not start or end with blanks, or hold control characters")
    return value


def _machine(value: str) -> str:
    if value not in MACHINES:
        raise ValueError(f"{value!r} is not a machine; there are {', '.join(MACHINES)}")
    return value


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > SCHEMA_BYTES:
        raise ValueError(f"a schema may have {SCHEMA_BYTES // 1024} KiB")
    return value


_Carried = TypeVar("_Carried", str, "RunOptionsPart")


def _carried(value: _Carried) -> _Carried:
    text = value if isinstance(value, str) else json.dumps(value.model_dump(), ensure_ascii=False)
    if len(text.encode()) > CARRIED_BYTES:
        raise ValueError(f"a schedule may carry {CARRIED_BYTES // 1024} KiB")
    if ("\0" if isinstance(value, str) else "\\u0000") in text:
        raise ValueError("contains a NUL character, which cannot be stored")
    return value


def _seconds(value: Any) -> Any:
    """A duration in words, or a fraction, as whole seconds; the rest fails the number's check."""
    if isinstance(value, float) and math.isfinite(value):
        return math.ceil(value)
    if not isinstance(value, str):
        return value
    try:
        return int(parse_duration(value, field="ttl").total_seconds())
    except Invalid as error:
        raise ValueError(error.message) from None


def _environments(values: list[str]) -> list[str]:
    """Environments by their slugs; the public clients write the types, in capitals."""
    slugs = {kind.name: kind.slug for kind in EnvironmentType}
    found = [slugs.get(value.upper(), value.lower()) for value in values]
    if unknown := [value for value in found if not is_slug(value)]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(slugs.values())}")
    return found


def _parsed(parse: Callable[[str], str]) -> pydantic.AfterValidator:
    """A check of the server's own as one of pydantic's."""

    def check(value: str) -> str:
        try:
            return parse(value)
        except Invalid as error:
            raise ValueError(error.message) from None

    return pydantic.AfterValidator(check)


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), pydantic.AfterValidator(_name)]
# The schema `true` allows everything, which is the same as none.
Schema = Annotated[
    Annotated[dict[str, Any], pydantic.AfterValidator(_schema)] | None,
    pydantic.BeforeValidator(lambda value: None if value is True else value),
]
Label = Annotated[str, Field(min_length=1, max_length=1_000)]
Limit = Annotated[int, Field(ge=0, le=100_000)]
Seconds = Annotated[
    Annotated[int, Field(ge=0, le=_SECONDS)] | None, pydantic.BeforeValidator(_seconds)
]


class _Part(pydantic.BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class RetryPart(_Part):
    """A retry policy, as the wire has it."""

    max_attempts: Annotated[int, Field(ge=1, le=250)] = 3
    factor: Annotated[float, Field(ge=1, le=1_000, allow_inf_nan=False)] = 2
    min_timeout_in_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1_000
    max_timeout_in_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60_000
    randomize: bool = True

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> RetryPart:
        if self.min_timeout_in_ms > self.max_timeout_in_ms:
            raise ValueError("minTimeoutInMs is greater than maxTimeoutInMs")
        return self


class RatePart(_Part):
    """So many starts per so many seconds; without a burst counted in windows."""

    limit: Annotated[int, Field(ge=1, le=1_000_000)]
    period: Annotated[float, Field(gt=0, le=_SECONDS, allow_inf_nan=False)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


Weight = Annotated[float, Field(ge=0.001, le=1_000, allow_inf_nan=False)]
_KEYS_WEIGHTED = 1_000


class _Flow(_Part):
    """What a queue says besides its name."""

    concurrency_limit: Limit | None = None
    total_limit: Limit | None = None
    rate: RatePart | None = None
    key_rate: RatePart | None = None
    max_queued: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    weight: Weight | None = None
    key_weights: Annotated[dict[Name, Weight], Field(max_length=_KEYS_WEIGHTED)] | None = None

    @property
    def flow(self) -> dict[str, Any]:
        """All of it, by the queue's columns."""
        return {
            "concurrency_limit": self.concurrency_limit,
            "total_limit": self.total_limit,
            "rate": self.rate and self.rate.model_dump(exclude_none=True),
            "key_rate": self.key_rate and self.key_rate.model_dump(exclude_none=True),
            "max_queued": self.max_queued,
            "weight": self.weight or 1.0,
            "key_weights": self.key_weights or {},
        }

    @property
    def says_something(self) -> bool:
        return bool(self.model_fields_set - {"name"}) and self.flow != _Flow().flow


class QueuePart(_Flow):
    """A queue that the code declares."""

    name: Name


class TaskQueuePart(_Flow):
    """The queue of a task: a name, or only limits for the task's own queue."""

    name: Name | None = None


class CollectPart(_Part):
    """Payloads of several triggers for one run: so many, or what came within so many seconds."""

    size: Annotated[int, Field(ge=1, le=MOST_COLLECTED)]
    seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class MachinePart(_Part):
    """The machine preset of a task."""

    preset: Annotated[str, pydantic.AfterValidator(_machine)] = DEFAULT_MACHINE


class QueueNamePart(_Part):
    """A queue by its name, as a trigger names it."""

    name: Label


class RunOptionsPart(_Part):
    """What the runs of a schedule get, as a trigger writes it; kept as it comes out of here."""

    queue: QueueNamePart | None = None
    concurrency_key: Label | None = None
    ttl: Seconds = None
    tags: Annotated[list[Label], Field(max_length=_TAGS)] | None = None
    metadata: dict[str, Any] | None = None
    machine: Annotated[str, pydantic.AfterValidator(_machine)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=_SECONDS)] | None = None
    max_duration: Annotated[Seconds, Field(ge=1)] = None
    priority: Annotated[float, Field(ge=-(10**9), le=10**9, allow_inf_nan=False)] | None = None

    @pydantic.field_serializer("queue")
    def _its_name(self, queue: QueueNamePart | None) -> str | None:
        return None if queue is None else queue.name


class SchedulePart(_Part):
    """When a task runs by itself: by a cron, or every so many seconds."""

    name: Annotated[str, Field(max_length=NAME_LENGTH)] = ""
    cron: Annotated[str, _parsed(parse_cron)] | None = None
    every: Annotated[int, Field(ge=1, le=_SECONDS)] | None = None
    timezone: Annotated[str, _parsed(parse_timezone)] = "UTC"
    window: Annotated[str, _parsed(parse_window)] | None = None
    jitter: Annotated[int, Field(ge=0, le=86_400)] = 0
    overlap: Literal["allow", "skip", "queue", "cancel"] = "allow"
    missed: Literal["skip", "one", "all"] = "one"
    missed_limit: Annotated[int, Field(ge=1, le=100)] = 1
    environments: Annotated[list[str], pydantic.AfterValidator(_environments)] | None = None
    payload: Annotated[str, pydantic.AfterValidator(_carried)] | None = None
    payload_type: Literal["application/json", "application/super+json", "text/plain"] | None = None
    options: Annotated[RunOptionsPart, pydantic.AfterValidator(_carried)] | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_recurrence(self) -> SchedulePart:
        if (self.cron is None) == (self.every is None):
            raise ValueError("a schedule has either a cron or an interval")
        return self


class TaskPart(_Part):
    """A task that the code declares."""

    id: Name
    description: Annotated[str, Field(max_length=10_000)] | None = None
    file_path: Annotated[str, Field(max_length=1_024)] = ""
    entry_point: Annotated[str, Field(max_length=1_024)] = ""
    queue: TaskQueuePart = TaskQueuePart()
    retry: RetryPart = RetryPart()
    machine: MachinePart = MachinePart()
    max_duration: Seconds = None  # 0 is none
    ttl: Seconds = None  # 0 is none, whatever the platform's default
    suspend_after: Seconds = None
    isolation: Literal["process", "run"] = "process"
    durable: bool = False
    overlap: Literal["allow", "skip", "queue", "cancel"] = "allow"
    collect: CollectPart | None = None
    payload_schema: Schema = None
    output_schema: Schema = None
    schedules: Annotated[list[SchedulePart], Field(max_length=SCHEDULES_PER_TASK)] = Field(
        default=[], validation_alias=AliasChoices("schedules", "schedule")
    )

    @pydantic.field_validator("schedules", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        """The public clients send one schedule, as an object."""
        return [value] if isinstance(value, dict) else value or []

    @pydantic.field_validator("queue", "retry", "machine", mode="before")
    @classmethod
    def _absent_is_default(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def queue_name(self) -> str:
        return self.queue.name or self._own_queue

    @property
    def has_own_queue(self) -> bool:
        return self.queue_name == self._own_queue

    @property
    def _own_queue(self) -> str:
        return f"{TASK_QUEUE_PREFIX}{self.id}"


class Manifest(_Part):
    """A whole build."""

    content_hash: Annotated[str, Field(max_length=128)] = ""
    sdk_version: Annotated[str, Field(max_length=64)] = Field(
        default="", validation_alias=AliasChoices("sdkVersion", "packageVersion")
    )
    python_version: Annotated[str, Field(max_length=32)] = Field(
        default="", validation_alias=AliasChoices("pythonVersion", "runtimeVersion")
    )
    tasks: Annotated[list[TaskPart], Field(max_length=TASKS_PER_VERSION)]
    queues: Annotated[list[QueuePart], Field(max_length=QUEUES_PER_VERSION)] = []

    @pydantic.field_validator("queues", mode="before")
    @classmethod
    def _absent_is_none(cls, value: Any) -> Any:
        return [] if value is None else value

    def all_queues(self) -> dict[str, dict[str, Any]]:
        """Every queue and what it says: the declared ones and those of the tasks."""
        found = {queue.name: queue.flow for queue in self.queues}
        for task in self.tasks:
            if task.queue.says_something or task.queue_name not in found:
                found[task.queue_name] = task.queue.flow
        return found


def parse_manifest(raw: Any) -> Manifest:
    """Check a manifest whole; raises Invalid that names everything that is wrong with it."""
    try:
        manifest = Manifest.model_validate(raw)
    except pydantic.ValidationError as error:
        problems = {
            ".".join(map(str, found["loc"])) or "manifest": _sentence(found)
            for found in error.errors()
        }
        raise _invalid(problems, raw) from None
    if problems := dict(_contradictions(manifest)):
        raise _invalid(problems, raw)
    return manifest


def _contradictions(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What is wrong although each part alone is right."""
    yield from _repeated_tasks(manifest)
    flows: dict[str, dict[str, Any] | None] = {}
    for index, queue in enumerate(manifest.queues):
        if queue.name.startswith(TASK_QUEUE_PREFIX):
            yield f"queues.{index}.name", f"{TASK_QUEUE_PREFIX}… are the tasks' own queues"
        if queue.name in flows:
            yield f"queues.{index}.name", f"{queue.name!r} is declared twice"
        flows[queue.name] = queue.flow if queue.says_something else None
    yield from _repeated_schedules(manifest)
    for index, task in enumerate(manifest.tasks):
        if task.queue_name.startswith(TASK_QUEUE_PREFIX) and not task.has_own_queue:
            yield f"tasks.{index}.queue", f"{task.queue_name!r} is another task's own queue"
        wanted = task.queue.flow if task.queue.says_something else None
        known = flows.get(task.queue_name)
        if wanted and known and (names := [name for name in wanted if wanted[name] != known[name]]):
            yield f"tasks.{index}.queue", _contradiction(task.queue_name, names, wanted, known)
        flows[task.queue_name] = known if wanted is None else wanted


def _contradiction(
    queue: str, names: list[str], wanted: dict[str, Any], known: dict[str, Any]
) -> str:
    if names == ["concurrency_limit"]:
        here, elsewhere = wanted["concurrency_limit"], known["concurrency_limit"]
        return f"{queue!r} has the limit {here} here and {elsewhere} elsewhere"
    said = ", ".join(to_camel(name) for name in names)
    return f"{queue!r} says something else about {said} here than elsewhere"


def _repeated_tasks(manifest: Manifest) -> Iterator[tuple[str, str]]:
    first: dict[str, TaskPart] = {}
    for index, task in enumerate(manifest.tasks):
        if other := first.get(task.id):
            yield f"tasks.{index}.id", f"is also the id of a task in {_place(other)}"
        first.setdefault(task.id, task)


def _repeated_schedules(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for index, task in enumerate(manifest.tasks):
        names = [schedule.name for schedule in task.schedules]
        if len(set(names)) < len(names):
            yield f"tasks.{index}.schedules", "several schedules need a name each"


def _place(task: TaskPart) -> str:
    return task.file_path or "this manifest"


def _invalid(problems: dict[str, str], raw: Any) -> Invalid:
    lines = [f"{_where(path, raw)}: {reason}" for path, reason in problems.items()]
    if len(lines) > _PROBLEMS_SHOWN:
        lines[_PROBLEMS_SHOWN:] = [f"and {len(lines) - _PROBLEMS_SHOWN} more"]
    return Invalid(
        "The manifest is invalid: " + "; ".join(lines),
        detail={path: [reason] for path, reason in problems.items()},
    )


def _where(path: str, raw: Any) -> str:
    """A path as a person would say it: the task's id and file instead of its index."""
    match path.split("."):
        case ["tasks", index, *rest] if index.isdecimal():
            task = raw["tasks"][int(index)]
            name = task.get("id") if isinstance(task, dict) else None
            file = task.get("filePath") if isinstance(task, dict) else None
            said = f"task {name!r}" if name else f"task number {int(index) + 1}"
            return " ".join([said + (f" in {file}" if file else ""), ".".join(rest)]).strip()
    return path


def _sentence(found: Any) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
