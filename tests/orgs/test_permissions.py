"""The table of who may do what."""

from pathlib import Path

import pytest

from apps.core.errors import Forbidden
from apps.core.ids import new_id
from apps.orgs.actors import SYSTEM, Actor
from apps.orgs.permissions import GRANTS, KEY_GRANTS, PUBLIC_ACTIONS, Permission, allows, require
from apps.orgs.roles import Role

KEY = Actor(kind="key", id=new_id())


def user(role: Role | None) -> Actor:
    return Actor(kind="user", id=new_id(), role=role)


def public(*scopes: str) -> Actor:
    return Actor(kind="public_token", id=None, scopes=scopes)


def test_every_permission_is_in_the_table():
    assert set(GRANTS) == set(Permission)


def test_an_owner_may_do_everything():
    assert all(allows(user(Role.OWNER), permission) for permission in Permission)


@pytest.mark.parametrize("permission", Permission)
def test_a_higher_role_may_do_what_a_lower_may(permission):
    granted = sorted(role.rank for role in GRANTS[permission])
    assert granted == list(range(granted[0], Role.OWNER.rank + 1))


def test_a_viewer_only_reads():
    may = {permission for permission in Permission if allows(user(Role.VIEWER), permission)}
    assert all(permission.endswith(":read") for permission in may)
    assert Permission.KEYS_READ not in may
    assert Permission.VARIABLES_READ not in may


def test_a_key_may_nothing_about_people_keys_or_projects():
    about = {permission.split(":")[0] for permission in KEY_GRANTS}
    assert about.isdisjoint({"members", "keys", "audit", "organization", "projects"})


def test_a_key_may_not_pause_its_environment():
    assert not allows(KEY, Permission.ENVIRONMENTS_WRITE)


def test_somebody_without_a_role_may_nothing():
    assert not any(allows(user(None), permission) for permission in Permission)


def test_the_system_may_everything():
    assert all(allows(SYSTEM, permission) for permission in Permission)


def test_a_public_token_may_what_its_scopes_say():
    reader = public("read:runs:run_1")
    assert allows(reader, Permission.RUNS_READ)
    assert not allows(reader, Permission.RUNS_WRITE)
    assert not allows(reader, Permission.RUNS_TRIGGER)
    assert allows(public("trigger:tasks:hello"), Permission.RUNS_TRIGGER)
    assert allows(public("batchTrigger:tasks:hello"), Permission.RUNS_TRIGGER)
    assert allows(public("write:waitpoints:waitpoint_1"), Permission.WAITPOINTS_WRITE)
    assert not allows(public(), Permission.RUNS_READ)


@pytest.mark.parametrize("scope", ["admin", "*:runs", "read:all", "write:all"])
def test_no_scope_of_a_public_token_reaches_people_keys_or_variables(scope):
    may = {permission for permission in Permission if allows(public(scope), permission)}
    assert may <= set(PUBLIC_ACTIONS)
    assert all(permission in KEY_GRANTS for permission in may)


def test_what_is_refused_is_named():
    with pytest.raises(Forbidden, match="runs:trigger, which your role viewer") as refused:
        require(user(Role.VIEWER), Permission.RUNS_TRIGGER)
    assert refused.value.detail == {"permission": "runs:trigger"}
    with pytest.raises(Forbidden, match="your credential"):
        require(KEY, Permission.MEMBERS_READ)


def test_the_table_is_frozen():
    with pytest.raises(TypeError):
        GRANTS[Permission.RUNS_READ] = frozenset()  # type: ignore[index]


def test_the_documented_table_is_this_table():
    page = Path(__file__).parents[2] / "docs" / "access.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert rows == [_row(permission) for permission in Permission]


def _row(permission: Permission) -> str:
    roles = [role in GRANTS[permission] for role in Role]
    cells = ["yes" if may else "" for may in [*roles, permission in KEY_GRANTS]]
    actions = ", ".join(sorted(PUBLIC_ACTIONS.get(permission, ())))
    return f"| `{permission}` | " + " | ".join([*cells, actions]) + " |"
