"""The manifest of a version: its tasks and queues, as the server registers them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from holdfast import packets
from holdfast.errors import PayloadInvalid
from holdfast.flow import Queue
from holdfast.machines import DEFAULT_MACHINE
from holdfast.project import Defaults
from holdfast.retry import Retry
from holdfast.schedules import Schedule
from holdfast.schemas import json_schema
from holdfast.tasks import Task, registry


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueManifest:
    """A queue: its name, and what it says besides, as `holdfast.Queue` writes it."""

    name: str
    flow: dict[str, Any] = field(default_factory=dict)

    @property
    def concurrency_limit(self) -> int | None:
        """How many of its runs may execute at once; None means no limit of its own."""
        limit: int | None = self.flow.get("concurrencyLimit")
        return limit

    def to_wire(self) -> dict[str, Any]:
        """The JSON form."""
        return {"name": self.name, **self.flow}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskManifest:
    """A task of a version.

    Attributes:
        id: The name it is triggered by.
        file_path: The file that defines it, relative to the project.
        entry_point: The module and the qualified name of the function, ``module:name``.
        queue: The queue that its runs wait in.
        retry: Its policy: ``maxAttempts``, ``factor``, ``minTimeoutInMs``, ``maxTimeoutInMs``,
            ``randomize``.
        machine: The preset's name.
        max_duration: Seconds of execution time per attempt; None means no limit.
        ttl: Seconds after which a run that has not started expires.
        suspend_after: Seconds of waiting before a snapshot; None means the platform's default.
        isolation: ``process`` or ``run``.
        durable: Whether what its runs do is recorded.
        overlap: ``allow``, ``skip``, ``queue`` or ``cancel``.
        collect: ``size`` and ``seconds``, when payloads are collected.
        payload_schema: JSON schema of the payload.
        output_schema: JSON schema of the result.
        description: One line for people.
        schedules: When it runs by itself.
    """

    id: str
    file_path: str = ""
    entry_point: str = ""
    queue: QueueManifest
    retry: dict[str, Any] = field(default_factory=dict)
    machine: str = DEFAULT_MACHINE
    max_duration: float | None = None
    ttl: float | None = None
    suspend_after: float | None = None
    isolation: str = "process"
    durable: bool = False
    overlap: str = "allow"
    collect: dict[str, Any] | None = None
    payload_schema: Any = None
    output_schema: Any = None
    description: str = ""
    schedules: tuple[Schedule, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """The JSON form; what is not set is left out."""
        optional = {
            "maxDuration": self.max_duration,
            "ttl": self.ttl,
            "suspendAfter": self.suspend_after,
            "payloadSchema": self.payload_schema,
            "outputSchema": self.output_schema,
            "description": self.description or None,
            "schedules": [schedule.to_wire() for schedule in self.schedules] or None,
            "overlap": None if self.overlap == "allow" else self.overlap,
            "collect": self.collect,
        }
        return {
            "id": self.id,
            "filePath": self.file_path,
            "entryPoint": self.entry_point,
            "queue": self.queue.to_wire(),
            "retry": self.retry,
            "machine": {"preset": self.machine},
            "isolation": self.isolation,
            "durable": self.durable,
        } | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that the server has to know about a version's code."""

    tasks: tuple[TaskManifest, ...]
    queues: tuple[QueueManifest, ...]
    content_hash: str = ""
    sdk_version: str = ""
    python_version: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "sdkVersion": self.sdk_version,
            "pythonVersion": self.python_version,
            "contentHash": self.content_hash,
            "tasks": [task.to_wire() for task in self.tasks],
            "queues": [queue.to_wire() for queue in self.queues],
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """Read the JSON form.

        Raises:
            ManifestError: Two tasks have the same id, two queues disagree, or something is missing.
        """
        try:
            tasks = tuple(_task_from_wire(task) for task in wire.get("tasks", ()))
            queues = tuple(_queue_from_wire(queue) for queue in wire.get("queues", ()))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ManifestError(f"the manifest is malformed: {error!r}") from None
        _refuse_duplicates(tasks)
        return cls(
            tasks=tasks,
            queues=queues,
            content_hash=wire.get("contentHash") or "",
            sdk_version=wire.get("sdkVersion") or "",
            python_version=wire.get("pythonVersion") or "",
        )


class ManifestError(ValueError):
    """A manifest contradicts itself; the text says how."""


def build_manifest(
    tasks: Iterable[Task[Any, Any]] | None = None,
    *,
    root: Path | None = None,
    content_hash: str = "",
    defaults: Defaults | None = None,
) -> Manifest:
    """The manifest of tasks.

    Args:
        tasks: The tasks; None means all that were defined in this process.
        root: The project's folder, from which file paths count.
        content_hash: Identifies the code, so that the same code is registered once.
        defaults: Retry policy, machine and maximum duration of tasks that name none.

    Raises:
        ManifestError: Two tasks give one queue different limits.
        SignatureError: An annotation of a task cannot be understood.
    """
    chosen = list(registry if tasks is None else tasks)
    return Manifest(
        tasks=tuple(_task(task, root, defaults or Defaults()) for task in chosen),
        queues=_queues(task.queue for task in chosen),
        content_hash=content_hash,
        sdk_version=sdk_version(),
        python_version=platform.python_version(),
    )


def sdk_version() -> str:
    """The version of this package."""
    try:
        return version("holdfast")
    except PackageNotFoundError:
        return "0+unknown"


def _task(task: Task[Any, Any], root: Path | None, defaults: Defaults) -> TaskManifest:
    signature = task.signature
    _check_schedules(task)
    return TaskManifest(
        id=task.id,
        file_path=_relative(task.file_path, root),
        entry_point=f"{task.function.__module__}:{task.function.__qualname__}",
        queue=QueueManifest(name=task.queue_name, flow=task.queue.to_wire()),
        retry=(task.retry or Retry.of(defaults.retry)).to_wire(),
        machine=task.machine or defaults.machine or DEFAULT_MACHINE,
        max_duration=defaults.max_duration if task.max_duration is None else task.max_duration,
        ttl=task.ttl,
        suspend_after=task.suspend_after,
        isolation=task.isolation,
        durable=task.durable,
        overlap=task.overlap,
        collect=None if task.collect is None else task.collect.to_wire(),
        payload_schema=json_schema(signature.payload, of_input=True),
        output_schema=json_schema(signature.output, of_input=False),
        description=task.description,
        schedules=task.schedules,
    )


def _check_schedules(task: Task[Any, Any]) -> None:
    """What a schedule carries has to fit the task: an error belongs where the mistake is."""
    for schedule in task.schedules:
        if schedule.payload.data is None:
            continue
        value = packets.plain(*schedule.payload)
        sample = {"scheduleId": "", "timestamp": "2000-01-01T00:00:00.000Z", "payload": value}
        try:
            task.signature.validate_payload(sample, task_id=task.id)
        except PayloadInvalid as error:
            raise ManifestError(f"the payload of a schedule does not fit: {error}") from None


def _queues(queues: Iterable[Queue]) -> tuple[QueueManifest, ...]:
    """The shared queues, each once; what is said of one anywhere counts everywhere."""
    flows: dict[str, dict[str, Any]] = {}
    for queue in queues:
        if queue.name is None:
            continue
        known, said = flows.get(queue.name, {}), queue.to_wire()
        if known and said and known != said:
            raise ManifestError(f"queue {queue.name!r} {_difference(known, said)}")
        flows[queue.name] = known or said
    return tuple(QueueManifest(name=name, flow=flow) for name, flow in flows.items())


def _difference(known: dict[str, Any], said: dict[str, Any]) -> str:
    limits = [flow.get("concurrencyLimit") for flow in (known, said)]
    if None not in limits and limits[0] != limits[1]:
        return f"has two limits: {limits[0]} and {limits[1]}"
    return f"is declared in two ways: {known} and {said}"


def _relative(path: str, root: Path | None) -> str:
    if root is None:
        return path
    resolved = Path(path).resolve()
    base = root.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else str(resolved)


def _refuse_duplicates(tasks: tuple[TaskManifest, ...]) -> None:
    seen: dict[str, str] = {}
    for task in tasks:
        if task.id in seen:
            raise ManifestError(
                f"two tasks have the id {task.id!r}: {seen[task.id]} and {task.file_path}"
            )
        seen[task.id] = task.file_path


def _queue_from_wire(wire: dict[str, Any]) -> QueueManifest:
    flow = {name: value for name, value in wire.items() if name != "name" and value is not None}
    return QueueManifest(name=wire["name"], flow=flow)


def _task_from_wire(wire: dict[str, Any]) -> TaskManifest:
    queue = wire.get("queue") or {"name": f"task/{wire['id']}"}
    return TaskManifest(
        id=wire["id"],
        file_path=wire.get("filePath") or "",
        entry_point=wire.get("entryPoint") or "",
        queue=_queue_from_wire(queue),
        retry=wire.get("retry") or {},
        machine=(wire.get("machine") or {}).get("preset") or DEFAULT_MACHINE,
        max_duration=wire.get("maxDuration"),
        ttl=wire.get("ttl"),
        suspend_after=wire.get("suspendAfter"),
        isolation=wire.get("isolation") or "process",
        durable=bool(wire.get("durable")),
        overlap=wire.get("overlap") or "allow",
        collect=wire.get("collect"),
        payload_schema=wire.get("payloadSchema"),
        output_schema=wire.get("outputSchema"),
        description=wire.get("description") or "",
        schedules=tuple(Schedule.from_wire(one) for one in wire.get("schedules") or ()),
    )
