"""Children: tied to their parent, replaced one after the other, told of in one sentence."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from config.stores.errors import StoreError
from config.stores.process import Child, launched
from tests.processes import FOREVER, is_alive, python, until


def test_a_child_ends_when_its_parent_is_killed():
    command = launched([sys.executable, "-c", FOREVER], signal.SIGTERM)
    parent_code = textwrap.dedent(
        f"""
        import os, subprocess, time
        command = {command!r}
        command[4] = str(os.getpid())
        print(subprocess.Popen(command, start_new_session=True).pid, flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: FOREVER in Path(f"/proc/{pid}/cmdline").read_text())
        parent.kill()
        until(lambda: not is_alive(pid))


def test_a_child_does_not_start_when_its_parent_is_gone_already():
    command = launched([sys.executable, "-c", FOREVER], signal.SIGTERM)
    command[4] = "1"  # somebody else
    assert subprocess.run(command, timeout=20).returncode == 1


def test_a_successor_waits_for_what_its_predecessor_has_forked(home):
    forking = "import os, time\nos.fork()\nprint('forked', flush=True)\ntime.sleep(600)"
    first = Child(python(forking), home)
    first.start()
    until(lambda: first.tail().count("forked") == 2)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.is_running)

    second = Child(python("print('second', flush=True)"), home)
    second.start()
    assert home.is_locked(home.process_lock("sample"))
    assert "second" not in second.tail()
    first.kill()
    until(lambda: "second" in second.tail())
    second.kill()


def test_stopping_kills_what_does_not_listen(home):
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('on', flush=True)\n"
    child = Child(python(stubborn + "time.sleep(600)", grace_seconds=0.1), home)
    child.start()
    until(lambda: "on" in child.tail())
    child.stop()
    assert child.exit_code == -signal.SIGKILL


def test_stopping_ends_the_whole_group(home):
    code = "import os, time\nprint(os.fork(), flush=True)\ntime.sleep(600)"
    child = Child(python(code), home)
    child.start()
    until(lambda: len(child.tail().split()) == 2)
    grandchild = max(int(pid) for pid in child.tail().split())
    child.stop()
    until(lambda: not is_alive(grandchild))


def test_an_early_end_is_told_by_its_last_line(home):
    child = Child(python("raise SystemExit('no such luck')", is_ready=lambda: False), home)
    child.start()
    with pytest.raises(StoreError, match="sample ended with exit code 1: no such luck"):
        child.wait_ready()


def test_a_killed_child_is_told_by_its_signal(home):
    child = Child(python("import os; os.kill(os.getpid(), 9)", is_ready=lambda: False), home)
    child.start()
    with pytest.raises(StoreError, match="sample was killed by SIGKILL"):
        child.wait_ready()


def test_a_late_child_is_named_with_its_log(home):
    child = Child(python(FOREVER, is_ready=lambda: False, ready_seconds=0.1), home)
    child.start()
    with pytest.raises(StoreError, match=r"sample is not ready after 0.1 s; its log is .*sample"):
        child.wait_ready()
    child.kill()


def test_a_log_is_bounded_and_its_child_goes_on_writing(home, monkeypatch):
    monkeypatch.setattr("config.stores.process._LOG_BYTES", 1000)
    child = Child(python(f"print('x' * 2000, flush=True); {FOREVER}"), home)
    child.start()
    until(lambda: len(child.tail()) > 1000)
    child.bound_log()
    assert child.log.stat().st_size == 0
    assert len(child.log.with_suffix(".log.1").read_text()) == 2001
    child.kill()


def test_an_account_is_taken_with_its_groups(home):
    if os.getuid() != 0:
        pytest.skip("only root can take another account")
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups(), flush=True)"
    child = Child(python(code, account=(65534, 65534)), home)
    child.start()
    until(lambda: "65534 65534 []" in child.tail())
    child.kill()
