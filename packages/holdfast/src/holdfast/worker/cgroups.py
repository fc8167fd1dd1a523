"""Holds task processes to their machines by cgroup v2, where the worker may make groups.

Each task process enters a group of its own before it executes anything, so that all its children
are in it too; the worker writes the limits of the run that it is given. Where that is not
possible nothing fails: `limits` and `processors` watch in any case. A group that is not the
worker's own is never changed, other than by groups below it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from holdfast.machines import Machine

MOUNT = Path("/sys/fs/cgroup")
NEEDED = ("cpu",)
"""Without these controllers groups are of no use; the others are a welcome addition."""

_CONTROLLERS = ("cpu", "memory", "pids")
_PERIOD_MICROSECONDS = 100_000
_MOST_TASKS = 4096
"""Threads count here, so it is far above the number of processes that the watch allows."""

_log = logging.getLogger("holdfast.worker")
_numbers = itertools.count()


class _NotPossible(Exception):
    """No groups can be made; the text says why."""


class Groups:
    """The groups of one worker's task processes.

    Args:
        path: The group above them, which has no processes of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limits: dict[int, str] = {}
        self._ended: set[Path] = set()
        self._has_failed = False

    def limit(self, pid: int, machine: Machine) -> None:
        """Hold a task process to a machine, whether it has entered its group yet or not."""
        if self._limits.get(pid) == machine.name:
            return
        group = _group_of(pid, self.path)
        try:
            group.mkdir(exist_ok=True)
            for name, value in limits_of(machine).items():
                with contextlib.suppress(FileNotFoundError):  # a controller that is not there
                    _write(group / name, value)
        except OSError as error:
            if not self._has_failed:
                _log.info("a limit cannot be set, and is only watched: %s", error)
            self._has_failed = True
        self._limits[pid] = machine.name

    def ended(self, pid: int) -> None:
        """A task process is gone: remove its group, with whatever may be alive in it."""
        self._limits.pop(pid, None)
        self._ended.add(_group_of(pid, self.path))
        self._ended = {group for group in self._ended if not _remove(group)}

    def close(self) -> bool:
        """Remove everything; False when something is still dying, and it is to be tried again."""
        for group in self.path.glob("task-*"):
            _remove(group)
        return _remove(self.path)


def open_groups(*, mount: Path = MOUNT, needed: Sequence[str] = NEEDED) -> Groups | None:
    """Make the group above a worker's task processes, or say once why there is none.

    Args:
        mount: Where cgroup v2 is mounted.
        needed: The controllers that must be there.
    """
    base = find_base(mount, tuple(needed))
    if base is None:
        return None
    path = base / f"holdfast-{os.getpid()}-{next(_numbers)}"
    try:
        _remove_leftovers(base)
        path.mkdir()
        _delegate(path, needed)
    except (OSError, _NotPossible) as error:
        _log.info("runs are held to their machines by watching only: %s", error)
        return None
    return Groups(path)


@functools.cache
def find_base(mount: Path, needed: tuple[str, ...]) -> Path | None:
    """The group below which this process may make groups with controllers; None: nowhere.

    It is asked once: the answer may have moved this process into a group below its own.
    """
    try:
        base = _find_base(mount, needed)
    except (OSError, _NotPossible) as error:
        _log.info("runs are held to their machines by watching only: %s", error)
        return None
    _log.info("runs are held to their machines by cgroups below %s", base)
    return base


def join(parent: Path | None) -> None:
    """Put the calling task process into its group below this one, if it can be done."""
    if parent is not None:
        group = _group_of(os.getpid(), parent)
        with contextlib.suppress(OSError):
            group.mkdir(exist_ok=True)
            _write(group / "cgroup.procs", "0")


def limits_of(machine: Machine) -> dict[str, str]:
    """What to write into the files of a group.

    Memory is a quarter above the machine's: the watch, which can say how much was used, is to be
    first, and the kernel there for what grows faster than anybody looks.
    """
    quota = int(machine.cpu * _PERIOD_MICROSECONDS)
    return {
        "cpu.max": f"{quota} {_PERIOD_MICROSECONDS}",
        "memory.max": str(machine.memory_bytes * 5 // 4),
        "memory.oom.group": "1",
        "pids.max": str(_MOST_TASKS),
    }


def _find_base(mount: Path, needed: Sequence[str]) -> Path:
    if not (mount / "cgroup.controllers").exists():
        raise _NotPossible(f"there is no cgroup v2 at {mount}")
    own = _own_group(mount)
    try:
        _delegate(own, needed)
    except _NotPossible:
        raise  # what a group has not, the groups above cannot give to others below them
    except OSError as error:
        if _processes(own) == {os.getpid()} and _step_aside(own, needed):
            return own
        return _base_above(own, mount, needed, error)
    if not _is_writable(own):
        raise _NotPossible(f"{own} belongs to somebody else")
    return own


def _own_group(mount: Path) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/"):
            return mount / line.removeprefix("0::/")
    raise _NotPossible("this process is in no group of cgroup v2")


def _delegate(group: Path, needed: Sequence[str]) -> None:
    """Let groups below this one have the controllers."""
    available = (group / "cgroup.controllers").read_text().split()
    if missing := [name for name in needed if name not in available]:
        raise _NotPossible(f"{group} has no controller {', '.join(missing)}")
    enabled = (group / "cgroup.subtree_control").read_text().split()
    for name in (*needed, *_CONTROLLERS):
        if name in available and name not in enabled:
            try:
                _write(group / "cgroup.subtree_control", f"+{name}")
            except OSError:
                if name in needed:
                    raise


def _step_aside(own: Path, needed: Sequence[str]) -> bool:
    """Move this process below its own group: one with processes cannot give controllers on."""
    aside = own / f"holdfast-{os.getpid()}-worker"
    try:
        aside.mkdir(exist_ok=True)
        _write(aside / "cgroup.procs", "0")
        _delegate(own, needed)
    except (OSError, _NotPossible):
        with contextlib.suppress(OSError):
            _write(own / "cgroup.procs", "0")
            aside.rmdir()
        return False
    return True


def _base_above(own: Path, mount: Path, needed: Sequence[str], error: OSError) -> Path:
    """The nearest group above that gives the controllers on, if no limit is evaded by it."""
    group = own
    while group != mount and not _is_limited(group):
        group = group.parent
        enabled = (group / "cgroup.subtree_control").read_text().split()
        if _is_writable(group) and all(name in enabled for name in needed):
            return group
    raise _NotPossible(f"no group can be made: {error}")


def _is_writable(group: Path) -> bool:
    """Whether groups can be made below this one, and processes be moved between them."""
    return os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _is_limited(group: Path) -> bool:
    for name in ("cpu.max", "memory.max", "memory.high"):
        with contextlib.suppress(FileNotFoundError):
            if (group / name).read_text().split()[0] != "max":
                return True
    return False


def _remove_leftovers(base: Path) -> None:
    """Remove the groups of workers that could not do it themselves."""
    for path in base.glob("holdfast-*"):
        owner = re.match(r"holdfast-(\d+)-", path.name)
        if owner and not Path("/proc", owner[1]).exists() and not _is_populated(path):
            for folder, _, _ in os.walk(path, topdown=False):
                _remove(Path(folder))


def _is_populated(group: Path) -> bool:
    try:
        return "populated 1" in (group / "cgroup.events").read_text()
    except OSError:
        return False  # another worker has removed it


def _remove(group: Path) -> bool:
    """Kill what is in a group and remove it; False when that takes longer."""
    try:
        with contextlib.suppress(FileNotFoundError):  # before Linux 5.14
            _write(group / "cgroup.kill", "1")
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _processes(group: Path) -> set[int]:
    return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}


def _group_of(pid: int, parent: Path) -> Path:
    return parent / f"task-{pid}"


def _write(path: Path, text: str) -> None:
    """Write to a file of the kernel's, which is there or is not to be made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
