"""Commands of a build: bounded in time and output, and nothing of them left behind."""

import sys

from apps.providers import commands, liveness
from tests.providers.contract import wait_until


def run(code, **changes):
    given = {"cwd": "/", "variables": {}, "timeout": 60, **changes}
    return commands.run([sys.executable, "-c", code], **given)


def test_both_streams_and_the_code_are_kept():
    done = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (done.code, done.stdout, done.stderr, done.timed_out) == (3, "out\n", "err\n", False)


def test_of_endless_output_the_end_is_kept():
    done = run("for number in range(200_000): print(number)", keep=1_000)
    assert len(done.stdout) == 1_000
    assert done.stdout.endswith("199999\n")


def test_one_that_takes_too_long_is_killed_with_all_that_it_started():
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""
    done = run(code, timeout=5)
    assert done.timed_out
    child = int(done.stdout)
    wait_until(lambda: liveness.identity(child) is None)


def test_one_that_leaves_a_child_with_its_pipes_is_over_when_it_is_over():
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
"""
    done = run(code)
    assert (done.code, done.timed_out) == (0, False)
    wait_until(lambda: liveness.identity(int(done.stdout)) is None)


def test_it_sees_only_the_variables_it_is_given(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "the server's")
    done = run(
        "import os; print(os.environ.get('SECRET_KEY'), os.environ['A'])", variables={"A": "b"}
    )
    assert done.stdout == "None b\n"
