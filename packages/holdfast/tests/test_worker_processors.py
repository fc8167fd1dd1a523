"""Who is confined to the CPUs of a machine, by a clock of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from holdfast.machines import Machine, get_machine
from holdfast.worker import linux
from holdfast.worker.processors import CpuWatch

pytestmark = pytest.mark.skipif(len(linux.usable_cpus()) < 2, reason="needs two CPUs")

_BUSY = "import threading\ndef spin():\n while True: pass\nthreading.Thread(target=spin).start()"


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that never rests, in two threads."""
    with subprocess.Popen([sys.executable, "-c", f"{_BUSY}\nspin()"]) as process:
        yield process.pid
        process.kill()


def works(pid: int, seconds: float) -> None:
    """Wait until a process has used so much CPU time."""
    wanted = linux.cpu_seconds(pid) + seconds
    deadline = time.monotonic() + 60
    while linux.cpu_seconds(pid) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def affinities(pid: int) -> set[frozenset[int]]:
    """Where the threads of a process may run."""
    threads = os.listdir(f"/proc/{pid}/task")
    return {frozenset(os.sched_getaffinity(int(thread))) for thread in threads}


@pytest.mark.parametrize("name", ["micro", "small-1x", "small-2x"])
def test_who_uses_more_is_confined_with_all_threads_and_can_be_released(busy: int, name: str):
    watch = CpuWatch(busy, get_machine(name))
    watch.look(0.0, most_processes=10)
    works(busy, 0.5)
    watch.look(0.4, most_processes=10)
    assert watch.is_confined
    (cpus,) = affinities(busy)
    assert len(cpus) == 1
    watch.release()
    assert affinities(busy) == {frozenset(linux.usable_cpus())}


def test_who_uses_what_it_has_is_left_alone(busy: int):
    watch = CpuWatch(busy, get_machine("small-2x"))
    watch.look(0.0, most_processes=10)
    works(busy, 0.5)
    watch.look(0.5, most_processes=10)
    assert not watch.is_confined
    assert affinities(busy) == {frozenset(linux.usable_cpus())}


def test_a_machine_with_as_many_cpus_as_there_are_is_never_watched(busy: int):
    everything = Machine(name="all", cpu=len(linux.usable_cpus()), memory_bytes=1)
    watch = CpuWatch(busy, everything)
    watch.look(0.0, most_processes=10)
    works(busy, 0.2)
    watch.look(0.001, most_processes=10)
    assert not watch.is_confined


def test_a_process_that_is_gone_is_no_error(busy: int):
    watch = CpuWatch(busy, get_machine("micro"))
    watch.look(0.0, most_processes=10)
    os.kill(busy, 9)
    os.waitid(os.P_PID, busy, os.WEXITED | os.WNOWAIT)
    watch.look(1.0, most_processes=10)
    watch.release()
    assert linux.cpu_seconds(2**30) == 0.0
