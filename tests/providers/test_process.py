"""Workers as processes: the contract, and what only this provider has to get right."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from apps.providers import liveness
from apps.providers.errors import ProviderError
from apps.providers.process import ProcessProvider
from apps.providers.workspace import Workspace
from tests.providers.bundles import bundle
from tests.providers.contract import (
    AT_ONCE,
    PATIENT,
    STUBBORN,
    WAITS,
    ProviderContract,
    spec,
    wait_until,
)


@pytest.fixture
def provider(tmp_path, workspace):
    return ProcessProvider(tmp_path, pool="local", workspace=workspace)


@pytest.fixture
def output(provider):
    return provider.log_of


@pytest.fixture
def again(tmp_path, workspace):
    """The provider after a restart: it knows only what is in its files."""
    return lambda: ProcessProvider(tmp_path, pool="local", workspace=workspace)


class TestContract(ProviderContract):
    pass


@pytest.fixture(autouse=True)
def _nothing_is_left(provider):
    yield
    provider.stop_all(grace=AT_ONCE)


def one(provider):
    (seen,) = provider.list()
    return seen


def running(provider):
    """The only worker, once its code runs."""
    seen = wait_until(lambda: one(provider) if one(provider).pid else None)
    wait_until(lambda: "up" in provider.log_of(seen.reference))
    return seen


def is_running(pid):
    return liveness.identity(pid) is not None


def test_workers_carry_the_mark_of_the_supervisor_that_ends_them(provider, monkeypatch):
    monkeypatch.setenv("HOLDFAST_SUPERVISOR", "c0ffee")
    provider.start(spec("import os; print(os.environ['HOLDFAST_SUPERVISOR'])"))
    wait_until(lambda: provider.log_of(one(provider).reference) == "c0ffee\n")


def test_a_restarted_provider_knows_its_workers_again(provider, again):
    reference = provider.start(spec())
    pid = running(provider).pid
    assert one(again()).pid == pid
    again().stop(reference, grace=PATIENT)
    wait_until(lambda: not one(again()).is_alive)
    assert not is_running(pid)


def test_a_provider_that_dies_leaves_workers_that_its_successor_adopts(
    tmp_path, again, workspace, sdk
):
    wanted = spec()
    script = f"""
import io
from pathlib import Path
from apps.providers.process import ProcessProvider
from apps.providers.protocol import Bundle, WorkerSpec
from apps.providers.workspace import Workspace
workspace = Workspace(Path({str(workspace.home)!r}), sdk=Path({str(sdk)!r}))
bundle = Bundle(key={wanted.bundle.key!r}, open=lambda: None)
spec = WorkerSpec(instance={wanted.instance!r}, bundle=bundle, machine="", variables={{}},
                  command=("main.py",))
ProcessProvider(Path({str(tmp_path)!r}), pool="local", workspace=workspace).start(spec)
import os; os._exit(1)
"""
    workspace.project(wanted.bundle)
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False)
    seen = running(again())
    assert seen.is_alive
    os.kill(seen.pid, signal.SIGKILL)
    wait_until(lambda: not one(again()).is_alive)
    assert "SIGKILL" in one(again()).reason


def test_a_killed_worker_is_listed_with_the_signal(provider):
    provider.start(spec())
    os.kill(running(provider).pid, signal.SIGKILL)
    wait_until(lambda: not one(provider).is_alive)
    assert one(provider).exit_code == 137
    assert one(provider).reason == "It was killed by SIGKILL"


def test_what_a_killed_worker_had_started_is_killed_too(provider, tmp_path):
    code = f"""
import os, subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
near = subprocess.Popen(sleeper)
far = subprocess.Popen(sleeper, start_new_session=True)
open({str(tmp_path / "pids")!r}, "w").write(f"{{near.pid}} {{far.pid}}")
{WAITS}
"""
    provider.start(spec(code))
    worker = running(provider).pid
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(is_running, pids))
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not one(provider).is_alive)
    wait_until(lambda: not any(map(is_running, pids)))


def test_a_worker_whose_keeper_was_killed_is_adopted_and_can_be_stopped(provider, tmp_path):
    reference = provider.start(spec())
    worker = running(provider).pid
    record = json.loads((tmp_path / "pools/local" / reference / "record.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    wait_until(lambda: not is_running(record["pid"]))
    assert one(provider).is_alive
    provider.stop(reference, grace=AT_ONCE)
    wait_until(lambda: not one(provider).is_alive)
    assert not is_running(worker)


def test_a_process_id_that_now_belongs_to_another_is_never_touched(provider, tmp_path):
    reference = provider.start(spec())
    os.kill(running(provider).pid, signal.SIGKILL)
    wait_until(lambda: not one(provider).is_alive)
    folder = tmp_path / "pools/local" / reference
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        record = json.loads((folder / "record.json").read_text()) | {"pid": bystander.pid}
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "exit").unlink()
        assert not one(provider).is_alive
        provider.stop(reference, grace=AT_ONCE)
        provider.stop_all(grace=AT_ONCE)
        provider.forget(reference)
        assert bystander.poll() is None
        bystander.communicate(b"\n")
        assert bystander.returncode == 0


def test_a_provider_that_dies_before_it_wrote_a_worker_down_has_started_none(tmp_path):
    keeper = Path(liveness.__file__).with_name("keep.sh")
    command = ["/bin/sh", str(keeper), str(tmp_path), "/bin/touch", str(tmp_path / "started")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.communicate(b"")
    assert not (tmp_path / "started").exists()


def test_two_starts_of_one_instance_at_once_are_one_worker(provider, again):
    wanted, barrier = spec(), threading.Barrier(4)

    def start():
        barrier.wait()
        again().start(wanted)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running(provider)
    assert len(liveness.members(f"HOLDFAST_INSTANCE={wanted.instance}")) == 2  # keeper and worker


def test_a_log_that_grows_without_end_is_kept_within_its_bound(tmp_path, workspace):
    provider = ProcessProvider(tmp_path, pool="local", workspace=workspace, log_bytes=20_000)
    code = f"for number in range(50_000): print('line', number)\n{WAITS}"
    reference = provider.start(spec(code))
    wait_until(lambda: "up" in provider.log_of(reference))
    provider.list()
    log = provider.log_of(reference)
    assert len(log) <= 20_000
    assert log.startswith("line ")
    assert log.endswith("line 49999\nup\n")


def test_only_the_newest_logs_of_ended_workers_are_kept(tmp_path, workspace):
    provider = ProcessProvider(tmp_path, pool="local", workspace=workspace, kept_logs=2)
    for _ in range(4):
        reference = provider.start(spec("print('bye')"))
        wait_until(lambda: not one(provider).is_alive)
        provider.forget(reference)
    folders = [path for path in (tmp_path / "pools/local").iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert provider.log_of(reference) == "bye\n"


def test_stop_all_asks_first_and_kills_the_stubborn(provider):
    gentle, stubborn = provider.start(spec()), provider.start(spec(STUBBORN))
    for reference in (gentle, stubborn):
        wait_until(lambda reference=reference: "up" in provider.log_of(reference))
    provider.stop_all(grace=timedelta(seconds=0.5))
    ends = {seen.reference: seen for seen in provider.list()}
    assert ends[gentle].exit_code == 0
    assert "killed" in ends[stubborn].reason


def test_what_live_workers_need_is_not_pruned(tmp_path, sdk):
    workspace = Workspace(tmp_path / "own", sdk=sdk)
    provider = ProcessProvider(tmp_path, pool="local", workspace=workspace)
    wanted, other = spec(), bundle({"main.py": "# of nobody"})
    provider.start(wanted)
    running(provider)
    workspace.project(other)
    removed = workspace.prune(keep=provider.in_use(), unused_seconds=-1)
    assert other.key in removed
    assert workspace.project(wanted.bundle).is_dir()
    assert wanted.bundle.key not in removed


def test_a_reference_that_is_no_instance_is_refused(provider):
    with pytest.raises(ProviderError, match="not an instance"):
        provider.stop("../../etc", grace=AT_ONCE)
    provider.stop(str(uuid4()), grace=AT_ONCE)
