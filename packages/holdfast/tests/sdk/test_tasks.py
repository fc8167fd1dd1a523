"""Tasks, the registry and the manifest that is made of them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

import pydantic
import pytest

import holdfast
from holdfast import DuplicateTask, Queue, Retry, Schedule, ScheduledRun, schedule, task
from holdfast.errors import PayloadInvalid
from holdfast.manifest import Manifest, ManifestError, build_manifest
from holdfast.project import Defaults
from holdfast.schemas import SignatureError
from holdfast.tasks import registry


class Order(pydantic.BaseModel):
    id: int
    lines: list[int] = []


@dataclasses.dataclass
class Size:
    width: int


class Options(TypedDict):
    deep: bool


def test_the_surface_is_what_it_is():
    assert sorted(holdfast.__all__) == sorted([
        "Abort", "ApiError", "BatchAbandoned", "BatchHandle", "ChildRunFailed", "Context",
        "DuplicateTask", "Collect", "Rate",
        "HoldfastClient", "HoldfastError", "IdempotencyKey", "NotInRun", "Options", "OutOfMemory",
        "OutputInvalid", "PayloadInvalid", "Queue", "Retry", "RunCanceled", "RunHandle",
        "Schedule", "ScheduledRun", "schedule",
        "SyncHoldfastClient", "Task", "TokenInvalid", "TokenTimedOut", "batch_trigger",
        "batch_trigger_and_wait", "batch_trigger_sync",
        "Evicted", "InputInvalid", "InputTimedOut", "NonDeterminismError", "StepFailed",
        "StepOptions", "StepTimedOut", "now",
        "patched", "random", "step", "step_sync", "uuid",
        "ctx", "item", "logger", "metadata", "middleware", "on_cancel",
        "on_complete", "on_failure", "on_resume", "on_start", "on_success", "on_wait", "tags",
        "task", "trigger", "trigger_and_wait", "trigger_sync", "wait",
    ])  # fmt: skip
    assert all(hasattr(holdfast, name) for name in holdfast.__all__)


def test_a_task_is_named_after_its_function_and_can_be_called():
    @task
    def add_one(n: int) -> int:
        """Add one.

        In more words.
        """
        return n + 1

    assert (add_one.id, add_one.description) == ("add_one", "Add one.")
    assert add_one(1) == 2
    assert registry.get("add_one") is add_one


def test_two_tasks_of_one_id_are_refused():
    @task(id="same")
    def first() -> None: ...

    with pytest.raises(DuplicateTask, match="same"):

        @task(id="same")
        def second() -> None: ...


def test_the_same_function_may_be_defined_again():
    def define() -> None:
        @task
        def again() -> None: ...

    define()
    define()
    assert len(registry) == 1


def test_a_function_of_two_arguments_is_no_task():
    with pytest.raises(SignatureError, match="at most one argument"):

        @task
        def two(a: int, b: int) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [
        {"machine": "huge"},
        {"max_duration": 0},
        {"ttl": -1},
        {"isolation": "container"},
        {"id": "x" * 129},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"machine|max_duration|ttl|isolation|id"):

        @task(**wrong)
        def refused() -> None: ...


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Order, {"id": "7"}, Order(id=7)),
        (Size, {"width": 3}, Size(width=3)),
        (Options, {"deep": "yes"}, {"deep": True}),
        (list[Options], [{"deep": 1}], [{"deep": True}]),
        (dict[str, Options | None], {"a": None}, {"a": None}),
        (list[int], ["1"], [1]),
        (int | None, None, None),
    ],
)
def test_payloads_are_typed_by_their_annotation(annotation, value, expected):
    def function(payload):
        return payload

    function.__annotations__["payload"] = annotation
    assert task(function).signature.validate_payload(value, task_id="t") == expected


def test_a_wrong_payload_names_the_path_of_each_error():
    @task
    def charge(order: Order) -> None: ...

    with pytest.raises(PayloadInvalid) as caught:
        charge.signature.validate_payload({"id": "x", "lines": [1, "y"]}, task_id="charge")
    assert [problem["path"] for problem in caught.value.errors] == ["id", "lines.1"]


def test_an_annotation_that_is_no_type_is_explained():
    @task
    def broken(value: NoSuchType) -> None: ...  # noqa: F821

    with pytest.raises(SignatureError, match="NoSuchType"):
        broken.signature  # noqa: B018


def test_the_manifest_says_everything():
    @task(
        id="charge",
        retry=Retry(attempts=5, min_delay=2, jitter=False),
        queue=Queue(name="payments", concurrency_limit=3),
        machine="micro",
        max_duration=60,
        ttl=600,
        isolation="run",
    )
    def charge(order: Order) -> int:
        """Charge an order."""
        return order.id

    wire = build_manifest(root=Path(__file__).parent, content_hash="abc").to_wire()
    (entry,) = wire["tasks"]
    schema = entry.pop("payloadSchema")
    assert schema["properties"]["lines"]["type"] == "array"
    assert entry == {
        "id": "charge",
        "filePath": Path(__file__).name,
        "entryPoint": entry["entryPoint"],
        "queue": {"name": "payments", "concurrencyLimit": 3},
        "retry": {
            "maxAttempts": 5,
            "factor": 2.0,
            "minTimeoutInMs": 2000,
            "maxTimeoutInMs": 60000,
            "randomize": False,
        },
        "machine": {"preset": "micro"},
        "maxDuration": 60,
        "ttl": 600,
        "isolation": "run",
        "durable": False,
        "outputSchema": {"type": "integer"},
        "description": "Charge an order.",
    }
    assert wire["queues"] == [{"name": "payments", "concurrencyLimit": 3}]
    assert Manifest.from_wire(wire | {"tasks": [entry]}).tasks[0].queue.concurrency_limit == 3


def test_the_projects_defaults_fill_what_a_task_leaves_open():
    @task
    def quiet() -> None: ...

    defaults = Defaults(retry={"attempts": 9}, machine="micro", max_duration=5)
    (entry,) = build_manifest(defaults=defaults).to_wire()["tasks"]
    assert entry["retry"]["maxAttempts"] == 9
    assert (entry["machine"], entry["maxDuration"]) == ({"preset": "micro"}, 5)


def test_a_queue_with_two_limits_is_refused():
    @task(queue=Queue(name="q", concurrency_limit=1))
    def one() -> None: ...

    @task(queue=Queue(name="q", concurrency_limit=2))
    def two() -> None: ...

    with pytest.raises(ManifestError, match="two limits: 1 and 2"):
        build_manifest()


class Region(pydantic.BaseModel):
    name: str


def test_a_schedule_says_what_its_runs_get():
    when = schedule(
        "@daily", payload={"since": datetime(2026, 1, 1, tzinfo=UTC)},
        options={"queue": "q", "ttl": timedelta(minutes=10), "tags": "eu"},
    )  # fmt: skip
    wire = when.to_wire()
    assert wire["payloadType"] == "application/super+json"
    assert wire["options"] == {"queue": {"name": "q"}, "ttl": "600s", "tags": ["eu"]}
    assert Schedule.from_wire(wire) == when
    assert schedule("@daily").to_wire().keys().isdisjoint({"payload", "payloadType", "options"})
    with pytest.raises(TypeError, match="a schedule has no option delay"):
        schedule("@daily", options={"delay": "1h"})


def test_a_scheduled_run_reads_what_its_schedule_carries():
    read = pydantic.TypeAdapter(ScheduledRun[Region]).validate_python
    tick = {"scheduleId": "sched_1", "timestamp": "2026-01-01T00:00:00Z"}
    assert read(tick | {"payload": {"name": "eu"}}).payload == Region(name="eu")
    assert read(tick).payload is None
    anything = pydantic.TypeAdapter(ScheduledRun).validate_python(tick | {"payload": [1]})
    assert anything.payload == [1]


def test_a_schedule_whose_payload_does_not_fit_its_task_is_refused():
    @task(schedule=schedule("@daily", payload={"title": "eu"}))
    async def report(run: ScheduledRun[Region]) -> None: ...

    with pytest.raises(ManifestError, match=r"payload of a schedule .*'report'.*payload\.name"):
        build_manifest()


def test_a_manifest_with_two_tasks_of_one_id_is_refused():
    wire = {"tasks": [{"id": "a", "filePath": "x.py"}, {"id": "a", "filePath": "y.py"}]}
    with pytest.raises(ManifestError, match=r"'a': x.py and y.py"):
        Manifest.from_wire(wire)


@pytest.mark.parametrize("wire", [{"tasks": [{}]}, {"tasks": [1]}, {"queues": [{}]}, {"tasks": 1}])
def test_a_malformed_manifest_is_refused(wire):
    with pytest.raises(ManifestError):
        Manifest.from_wire(wire)
