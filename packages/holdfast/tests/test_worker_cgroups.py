"""Task processes in cgroups: with the limits of their machines, and gone with them.

What needs a controller is tested where this computer gives one to cgroup v2; the life of groups
needs only a place to make them.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.machines import MACHINES, get_machine
from holdfast.protocol import Completed, Started
from holdfast.worker import cgroups, linux
from packages.holdfast.tests.conftest import eventually, working

FALLBACK = "runs are held to their machines by watching only"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Where groups can be made is asked once per process; here once per test."""
    cgroups.find_base.cache_clear()
    yield
    cgroups.find_base.cache_clear()


@pytest.fixture
def mount() -> Path:
    """A cgroup v2 in which groups can be made, whatever controllers it has."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2" and cgroups.find_base(Path(folder), ()) is not None:
            return Path(folder)
    pytest.skip("there is no cgroup v2 in which groups can be made")


async def test_a_run_that_never_rests_gets_the_cpu_of_its_machine(coordinator, caplog):
    caplog.set_level(logging.INFO, logger="holdfast.worker")
    async with working(coordinator) as worker:
        run = await coordinator.execute("spins", machine="micro")
        await coordinator.wait_for(lambda: coordinator.told(Started, run))
        process = worker._held[run].process
        await eventually(lambda: process.pid is not None)
        if cgroups.find_base(cgroups.MOUNT, cgroups.NEEDED) is None:
            assert worker._executions.pool._groups is None
            assert caplog.text.count(FALLBACK) == 1
            return
        before = linux.cpu_seconds(process.pid)
        await asyncio.sleep(2)
        assert 0.2 < linux.cpu_seconds(process.pid) - before < 0.6


async def test_a_task_process_and_its_children_live_in_a_group_that_goes_with_them(
    coordinator, mount, monkeypatch, tmp_path
):
    opened = functools.partial(cgroups.open_groups, mount=mount, needed=())
    monkeypatch.setattr(cgroups, "open_groups", opened)
    gate = tmp_path / "gate"
    async with working(coordinator) as worker:
        path = worker._executions.pool._groups.path
        run = await coordinator.execute("takes_two_cpus", str(gate))
        await coordinator.wait_for(lambda: coordinator.told(Started, run))
        process = worker._held[run].process
        await eventually(lambda: process.pid and linux.children_of(process.pid))
        group = path / f"task-{process.pid}"
        members = (group / "cgroup.procs").read_text().split()
        assert {str(process.pid), *map(str, linux.children_of(process.pid))} == set(members)
        assert str(os.getpid()) not in members
        gate.touch()
        assert isinstance(await coordinator.result(run), Completed)
        process.kill()
        await eventually(lambda: not group.exists())
        assert path.exists()
    assert not path.exists()


def test_what_is_still_alive_in_an_ended_group_is_killed(mount):
    groups = cgroups.open_groups(mount=mount, needed=())
    with subprocess.Popen(["sleep", "300"]) as left:
        groups.limit(left.pid, get_machine("micro"))
        (groups.path / f"task-{left.pid}/cgroup.procs").write_text(str(left.pid))
        groups.ended(left.pid)
        assert left.wait(60) == -9
    assert groups.close()
    assert groups.close()  # it is no error that there is nothing


def test_groups_of_killed_workers_are_removed_and_those_of_living_ones_stay(mount):
    alive = cgroups.open_groups(mount=mount, needed=())
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    left = alive.path.parent / f"holdfast-{dead.pid}-0"
    (left / "task-7").mkdir(parents=True)
    other = cgroups.open_groups(mount=mount, needed=())
    assert not left.exists()
    assert alive.path.exists()
    assert alive.close()
    assert other.close()


def test_without_cgroup_v2_there_are_no_groups_and_it_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="holdfast.worker")
    assert cgroups.open_groups(mount=tmp_path) is None
    assert cgroups.open_groups(mount=tmp_path) is None
    assert caplog.text.count(FALLBACK) == 1


def test_a_missing_controller_means_no_groups(mount, caplog):
    caplog.set_level(logging.INFO, logger="holdfast.worker")
    assert cgroups.open_groups(mount=mount, needed=("no-such",)) is None
    assert "no controller no-such" in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_without_permission_there_are_no_groups_and_it_is_said_once(mount):
    code = (
        "import logging, os, pathlib\n"
        "from holdfast.worker import cgroups\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "os.setuid(65534)\n"
        f"mount = pathlib.Path({str(mount)!r})\n"
        "opened = [cgroups.open_groups(mount=mount, needed=()) for _ in '12']\n"
        "assert opened == [None, None]"
    )
    nobody = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert nobody.returncode == 0, nobody.stderr
    assert nobody.stderr.count("INFO") == 1
    assert FALLBACK in nobody.stderr


def test_a_process_that_cannot_enter_its_group_goes_on(tmp_path):
    cgroups.join(tmp_path / "missing")
    cgroups.join(None)


def test_the_limits_are_those_of_the_machine_and_the_watch_comes_first():
    assert cgroups.limits_of(get_machine("micro")) == {
        "cpu.max": "25000 100000",
        "memory.max": str(320 * 1024**2),
        "memory.oom.group": "1",
        "pids.max": "4096",
    }
    for machine in MACHINES.values():
        assert int(cgroups.limits_of(machine)["memory.max"]) > machine.memory_bytes
