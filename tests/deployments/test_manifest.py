"""What a manifest may say, and what is said about one that may not."""

import pytest

from apps.core.errors import Invalid
from apps.deployments.manifest import parse_manifest
from tests.deployments.manifests import manifest, task


def refused(raw):
    with pytest.raises(Invalid) as caught:
        parse_manifest(raw)
    return caught.value


def test_what_is_absent_has_the_contracts_defaults():
    parsed = parse_manifest({"tasks": [{"id": "send"}]})
    (send,) = parsed.tasks
    assert send.queue_name == "task/send"
    assert send.machine.preset == "small-1x"
    assert send.retry.model_dump(by_alias=True) == {
        "maxAttempts": 3,
        "factor": 2,
        "minTimeoutInMs": 1_000,
        "maxTimeoutInMs": 60_000,
        "randomize": True,
    }
    assert (send.isolation, send.durable, send.ttl, send.max_duration) == (
        "process",
        False,
        None,
        None,
    )


def test_the_words_of_the_public_client_are_understood():
    parsed = parse_manifest(
        {
            "packageVersion": "4.8.3",
            "runtime": "node",
            "runtimeVersion": "22",
            "tasks": [task("a", ttl="10m", retry=None)],
            "queues": None,
        }
    )
    assert (parsed.sdk_version, parsed.python_version, parsed.tasks[0].ttl) == ("4.8.3", "22", 600)


def test_seconds_may_have_a_fraction_and_a_schema_may_be_true():
    (parsed,) = parse_manifest(
        manifest(task("a", maxDuration=0.5, ttl=90.0, payloadSchema=True))
    ).tasks
    assert (parsed.max_duration, parsed.ttl, parsed.payload_schema) == (1, 90, None)


def test_all_queues_are_the_declared_ones_and_those_of_the_tasks():
    parsed = parse_manifest(
        manifest(
            task("a", queue={"name": "mail"}),
            task("b", queue={"concurrencyLimit": 1}),
            queues=[{"name": "mail", "concurrencyLimit": 5}, {"name": "spare"}],
        )
    )
    found = {name: flow["concurrency_limit"] for name, flow in parsed.all_queues().items()}
    assert found == {"mail": 5, "spare": None, "task/b": 1}


def test_a_queue_says_how_its_runs_flow():
    flow = {
        "concurrencyLimit": 2, "totalLimit": 20, "rate": {"limit": 5, "period": 60, "burst": 1},
        "keyRate": {"limit": 1, "period": 0.5}, "maxQueued": 100, "weight": 2,
        "keyWeights": {"gold": 3},
    }  # fmt: skip
    (found,) = parse_manifest(manifest(queues=[{"name": "mail", **flow}])).all_queues().values()
    assert found == {
        "concurrency_limit": 2, "total_limit": 20,
        "rate": {"limit": 5, "period": 60.0, "burst": 1}, "key_rate": {"limit": 1, "period": 0.5},
        "max_queued": 100, "weight": 2.0, "key_weights": {"gold": 3.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    "flow",
    [
        {"totalLimit": -1},
        {"rate": {"limit": 0, "period": 1}},
        {"rate": {"limit": 1, "period": 0}},
        {"keyRate": {"limit": 1, "period": 1, "burst": 0}},
        {"maxQueued": -1},
        {"weight": 0},
        {"keyWeights": {"gold": 0}},
    ],
)
def test_a_flow_that_makes_no_sense_is_refused(flow):
    refused(manifest(queues=[{"name": "mail", **flow}]))


def test_a_task_may_not_say_something_else_about_a_queue():
    error = refused(
        manifest(
            task("a", queue={"name": "mail", "totalLimit": 1}),
            queues=[{"name": "mail", "totalLimit": 2}],
        )
    )
    assert "'mail' says something else about totalLimit here than elsewhere" in error.message


def test_two_tasks_of_one_id_are_refused_with_both_files():
    error = refused(manifest(task("a"), task("a", filePath="tasks/other.py")))
    assert error.message == (
        "The manifest is invalid: task 'a' in tasks/other.py id: is also the id of a task in"
        " tasks/a.py"
    )
    assert list(error.detail) == ["tasks.1.id"]


@pytest.mark.parametrize(
    ("raw", "path", "says"),
    [
        (None, "manifest", "dictionary"),
        ([], "manifest", "dictionary"),
        ({}, "tasks", "field required"),
        ({"tasks": "all"}, "tasks", "list"),
        ({"tasks": [7]}, "tasks.0", "dictionary"),
        (manifest(task("")), "tasks.0.id", "at least 1"),
        (manifest(task("a" * 129)), "tasks.0.id", "at most 128"),
        (manifest(task("a\n")), "tasks.0.id", "control characters"),
        (manifest(task("a\0b")), "tasks.0.id", "control characters"),
        (manifest(task("a", machine={"preset": "huge"})), "tasks.0.machine.preset", "large-2x"),
        (manifest(task("a", retry={"maxAttempts": 0})), "tasks.0.retry.maxAttempts", "greater"),
        (manifest(task("a", retry={"maxAttempts": 251})), "tasks.0.retry.maxAttempts", "250"),
        (manifest(task("a", retry={"factor": 0.5})), "tasks.0.retry.factor", "greater"),
        (
            manifest(task("a", retry={"minTimeoutInMs": 9, "maxTimeoutInMs": 1})),
            "tasks.0.retry",
            "minTimeoutInMs is greater",
        ),
        (manifest(task("a", ttl="soon")), "tasks.0.ttl", "not a duration"),
        (manifest(task("a", maxDuration=-1)), "tasks.0.maxDuration", "greater"),
        (manifest(task("a", isolation="planet")), "tasks.0.isolation", "'run'"),
        (manifest(task("a", payloadSchema="x")), "tasks.0.payloadSchema", "dictionary"),
        (
            manifest(task("a", payloadSchema={"enum": ["x" * 300_000]})),
            "tasks.0.payloadSchema",
            "256 KiB",
        ),
        (manifest(task("a", queue={"name": "task/b"})), "tasks.0.queue", "another task's"),
        (manifest(queues=[{"name": "task/a"}]), "queues.0.name", "own queues"),
        (manifest(queues=[{"name": "q"}, {"name": "q"}]), "queues.1.name", "twice"),
        (manifest(queues=[{"name": "q", "concurrencyLimit": -1}]), "queues.0.concurrencyLimit", ""),
        (
            manifest(
                task("a", queue={"name": "q", "concurrencyLimit": 1}),
                task("b", queue={"name": "q", "concurrencyLimit": 2}),
            ),
            "tasks.1.queue",
            "limit 2 here and 1 elsewhere",
        ),
        (manifest(*[f"t{number}" for number in range(1_001)]), "tasks", "1000"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(raw, path, says):
    error = refused(raw)
    assert path in error.detail
    assert says in error.detail[path][0]


def test_everything_wrong_is_said_at_once_but_not_without_end():
    error = refused(manifest(*[task(f"t{number}", durable="maybe") for number in range(30)]))
    assert len(error.detail) == 30
    assert error.message.endswith("and 10 more")
