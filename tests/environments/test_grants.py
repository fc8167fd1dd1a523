import pytest

from apps.environments.grants import Grants


def granted(*scopes: str) -> Grants:
    return Grants.parse(scopes)


def test_a_scope_with_an_id_grants_that_one_only():
    grants = granted("read:runs:run_1")

    assert grants.allows("read", [("runs", "run_1")])
    assert not grants.allows("read", [("runs", "run_2")])
    assert not grants.allows("read", [("runs", None)])


def test_a_scope_without_an_id_grants_all_of_its_kind():
    grants = granted("read:runs")

    assert grants.allows("read", [("runs", "run_1")])
    assert grants.allows("read", [("runs", None)])
    assert not grants.allows("read", [("batch", "batch_1")])


def test_an_id_may_contain_colons():
    assert granted("read:tags:user:7").allows("read", [("tags", "user:7")])
    assert not granted("read:tags:user:7").allows("read", [("tags", "user")])


def test_one_name_of_several_is_enough():
    names = [("runs", "run_1"), ("tasks", "resize"), ("tags", "user_1"), ("batch", "batch_1")]

    for scope in ("read:runs:run_1", "read:tasks:resize", "read:tags:user_1", "read:batch:batch_1"):
        assert granted(scope).allows("read", names)
    assert not granted("read:tags:user_2").allows("read", names)


@pytest.mark.parametrize("scope", ["admin", "read:all", "*:runs"])
def test_wildcards_grant_every_run(scope):
    assert granted(scope).allows("read", [("runs", "run_1")])


@pytest.mark.parametrize(
    "scope", ["", "read", "admins", "admin:queues", ":runs", "read:", "write:runs"]
)
def test_what_is_no_such_grant_grants_nothing(scope):
    assert not granted(scope).allows("read", [("runs", "run_1")])


def test_writing_tasks_includes_triggering_them():
    grants = granted("write:tasks:resize")

    assert grants.allows("trigger", [("tasks", "resize")])
    assert grants.allows("batchTrigger", [("tasks", "resize")])
    assert not grants.allows("trigger", [("tasks", "other")])


def test_triggering_one_does_not_include_batches():
    assert not granted("trigger:tasks:resize").allows("batchTrigger", [("tasks", "resize")])


def test_touching_needs_any_grant_of_the_action_on_the_kinds():
    grants = granted("read:tags:user_1")

    assert grants.touches("read", ("runs", "tags"))
    assert not grants.touches("read", ("runs", "batch"))
    assert not grants.touches("write", ("tags",))
