"""What the API returns, as frozen dataclasses: unknown keys are ignored, dates are parsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pydantic
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from holdfast._wire import Response
from holdfast.api_errors import MalformedAnswerError

T = TypeVar("T")

FINAL_STATUSES = frozenset(
    {"COMPLETED", "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What all results share: camelCase on the wire, snake_case here."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next.

    A list that still grows has `latest`, too: what comes later is found after it.
    """

    data: list[T]
    next: str | None = None
    previous: str | None = None
    latest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle(Result):
    """A triggered run. `waitpoint_id` is set when a parent waits for it."""

    id: str
    is_cached: bool = False
    waitpoint_id: str | None = None
    public_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHandle(Result):
    """A triggered batch. `waitpoint_id` is set when a parent waits for it.

    `sealed` is whether the server had all items of a batch that it knew already.
    """

    id: str
    run_count: int
    is_cached: bool = False
    sealed: bool = True
    waitpoint_id: str | None = None
    public_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Result):
    """How far a batch has been received."""

    id: str
    items_accepted: int = 0
    items_deduplicated: int = 0
    sealed: bool = True
    enqueued_count: int | None = None
    expected_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProblem(Result):
    """An item of a batch that could not be triggered."""

    index: int
    task: Annotated[str, pydantic.Field(alias="taskIdentifier")] = ""
    error: str = ""
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProcessing(Result):
    """What became of the items of a batch."""

    completed_at: datetime | None = None
    errors: list[BatchProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Result):
    """A batch and the ids of its runs, by index."""

    id: str
    status: str
    run_count: int
    created_at: datetime
    updated_at: datetime
    runs: list[str] = field(default_factory=list)
    idempotency_key: str | None = None
    processing: BatchProcessing = field(default_factory=BatchProcessing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError(Result):
    """Why a run failed."""

    message: str = ""
    name: str | None = None
    stack_trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Result):
    """A run as lists show it."""

    id: str
    status: str
    task: Annotated[str, pydantic.Field(alias="taskIdentifier")]
    created_at: datetime
    updated_at: datetime
    is_test: bool = False
    tags: list[str] = field(default_factory=list)
    version: str | None = None
    metadata: dict[str, Any] | None = None
    idempotency_key: str | None = None
    ttl: str | int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    delayed_until: datetime | None = None
    expired_at: datetime | None = None
    duration_ms: float = 0
    cost_in_cents: float = 0
    base_cost_in_cents: float = 0
    depth: int = 0
    trigger_function: str | None = None
    reason: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_STATUSES

    @property
    def is_success(self) -> bool:
        """Whether the run has completed and returned."""
        return self.status == "COMPLETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedRuns(Result):
    """A run's family."""

    root: RunSummary | None = None
    parent: RunSummary | None = None
    children: list[RunSummary] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunSummary):
    """A run with its payload, output and family."""

    payload: Any = None
    payload_presigned_url: str | None = None
    output: Any = None
    output_presigned_url: str | None = None
    error: RunError | None = None
    attempt_count: int = 0
    batch_id: str | None = None
    queue: Any = None
    machine: Any = None
    related_runs: RelatedRuns = field(default_factory=RelatedRuns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(Result):
    """How a finished run ended: `output` is decoded, `error` is the contract's TaskRunError."""

    ok: bool
    id: str
    output: Any = None
    output_type: str = "application/json"
    error: dict[str, Any] | None = None
    task: Annotated[str | None, pydantic.Field(alias="taskIdentifier")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog(Result):
    """A line that a run logged."""

    at: Annotated[datetime, pydantic.Field(alias="time")]
    message: str
    level: str = "INFO"
    attempt: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    span_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable(Result):
    """An environment variable; a secret one's value is not shown."""

    name: str
    value: str = ""
    is_secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentAccess(Result):
    """The key of one environment of a project, and the address to use it at."""

    api_key: str = field(repr=False)
    name: str = ""
    api_url: str = ""
    project_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSummary(Result):
    """A project, for people."""

    name: str
    url: str | None = None
    org_title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Result):
    """Who the credential belongs to."""

    user_id: str
    email: str
    dashboard_url: str | None = None
    project: ProjectSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode(Result):
    """A device login in progress: open `url`, approve, then redeem the code."""

    authorization_code: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion(Result):
    """A development version that the server knows now."""

    id: str
    version: str
    content_hash: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentHandle(Result):
    """A deployment that waits for its archive at `upload_url`."""

    id: str
    upload_url: str
    short_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentError(Result):
    """Why a deployment failed; an import error brings the customer's traceback."""

    message: str = ""
    name: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Result):
    """The act and record of shipping a version."""

    id: str
    status: str
    short_code: str = ""
    version: str | None = None
    created_at: datetime | None = None
    deployed_at: datetime | None = None
    is_current: bool = False
    error: DeploymentError | None = None
    log: str = ""
    tasks: list[Any] = field(default_factory=list)
    git: dict[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in {"DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT"}


def read(shape: type[T]) -> Callable[[Response], T]:
    """A parser of responses whose body is one `shape`."""
    return lambda response: build(shape, response.json())


def read_page(shape: type[T]) -> Callable[[Response], Page[T]]:
    """A parser of responses whose body is a page of `shape`."""

    def parse(response: Response) -> Page[T]:
        body = response.json()
        if not isinstance(body, dict):
            raise MalformedAnswerError("the server answered something that is not a page")
        pagination = body.get("pagination") or {}
        data: list[T] = build(list[shape], body.get("data"))  # type: ignore[valid-type]
        cursors = {name: pagination.get(name) for name in ("next", "previous", "latest")}
        return Page(data=data, **cursors)

    return parse


def build(shape: type[T], data: Any) -> T:
    """`data` as a `shape`; raises MalformedAnswerError."""
    try:
        result: T = _adapter(shape).validate_python(data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise MalformedAnswerError(
            f"the server's answer is not what was expected: {where}: {first['msg']}"
        ) from None
    return result


_ADAPTERS: dict[Any, pydantic.TypeAdapter[Any]] = {}


def _adapter(shape: Any) -> pydantic.TypeAdapter[Any]:
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = pydantic.TypeAdapter(shape)
    return _ADAPTERS[shape]


def dump(value: Any) -> Any:
    """A result, or anything that holds some, as JSON values under the wire's names."""
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    if isinstance(value, dict):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, Result):
        return _adapter(type(value)).dump_python(
            value, mode="json", by_alias=True, exclude_none=True
        )
    return to_jsonable_python(value, fallback=str)
