"""What the worker needs of Linux that Python has no function for; a no-op elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IS_LINUX = sys.platform.startswith("linux")
_PROC = Path("/proc")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this signal to the calling process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none escapes."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prefer_as_victim(score: int) -> None:
    """Have the kernel choose the calling process first when memory runs out."""
    with contextlib.suppress(OSError):
        (_PROC / "self/oom_score_adj").write_text(str(score))


def children_of(pid: int) -> list[int]:
    """The direct children of a process; empty when it is gone."""
    children: list[int] = []
    try:
        threads = os.listdir(_PROC / str(pid) / "task")
    except OSError:
        return children
    for thread in threads:
        with contextlib.suppress(OSError):
            text = (_PROC / str(pid) / "task" / thread / "children").read_text()
            children.extend(int(child) for child in text.split())
    return children


def descendants_of(pid: int, *, most: int = 100_000) -> list[int]:
    """All processes below this one, at most `most`."""
    found: list[int] = []
    queue = children_of(pid)
    while queue and len(found) < most:
        child = queue.pop()
        found.append(child)
        queue.extend(children_of(child))
    return found


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM, shared pages included; 0 when it is gone."""
    try:
        fields = (_PROC / str(pid) / "statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def own_bytes(pid: int) -> int:
    """Memory of a process, with pages shared by n processes counted as one n-th each."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return resident_bytes(pid)
    wanted = ("Pss:", "SwapPss:")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(wanted))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, without its children; 0 when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def usable_cpus() -> list[int]:
    """The CPUs that the calling process may run on; none where that cannot be said."""
    return sorted(os.sched_getaffinity(0)) if _IS_LINUX else []


def confine(pids: Iterable[int], cpus: set[int]) -> None:
    """Let all threads of these processes run on these CPUs only."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(_PROC / str(pid) / "task"):
                os.sched_setaffinity(int(thread), cpus)


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory in this cgroup, or at all."""
    for path in (Path("/sys/fs/cgroup/memory.events"), _PROC / "vmstat"):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = path.read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


def _prctl(option: int, argument: int) -> None:
    if _IS_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)
