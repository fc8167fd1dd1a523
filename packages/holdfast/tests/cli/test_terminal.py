"""What a terminal sees, what a pipe sees, and how wrong command lines end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest

from holdfast.cli.exits import MEANING, Exit
from packages.holdfast.tests.cli.conftest import Cli
from packages.holdfast.tests.client.stub import Stub

ESCAPE = "\x1b["


def on_a_terminal(cli: Cli, *arguments: str) -> str:
    """What the command writes when its streams are a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments),
        cwd=cli.folder,
        env=cli.variables | {"TERM": "xterm-256color", "COLUMNS": "80"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    process.wait(timeout=30)
    return written.decode()


def test_a_terminal_gets_colours(cli: Cli, stub: Stub):
    stub.add_run("run_x")
    assert f"{ESCAPE}32mCOMPLETED" in on_a_terminal(cli, "runs", "list")


def test_a_terminal_with_no_color_gets_none(cli: Cli, stub: Stub):
    stub.add_run("run_x")
    cli.variables["NO_COLOR"] = "1"
    written = on_a_terminal(cli, "runs", "list")
    assert "COMPLETED" in written
    assert f"{ESCAPE}32m" not in written
    assert f"{ESCAPE}31m" not in on_a_terminal(cli, "runs", "show", "run_none")


def test_a_pipe_gets_no_escapes(alice: Cli, stub: Stub):
    stub.add_run("run_x")
    for done in (alice("runs", "list"), alice("runs", "show", "run_none"), alice("deploy")):
        assert "\x1b" not in done.out + done.err


def test_a_reader_that_goes_away_is_no_error(cli: Cli, stub: Stub):
    for number in range(500):
        stub.add_run(f"run_{number}", tags=["x" * 200])
    command = cli.command("runs", "list", "--limit", "400")
    process = subprocess.Popen(
        command, cwd=cli.folder, env=cli.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_ctrl_c_is_no_error_and_has_its_code(cli: Cli, stub: Stub):
    stub.add_run("run_x", "EXECUTING")
    process = subprocess.Popen(
        cli.command("runs", "logs", "run_x", "--follow"),
        cwd=cli.folder,
        env=cli.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stub.asked.wait(30)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"\n")  # below the terminal's own ^C
    assert process.returncode == 130


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["runs", "lst"], ["runs", "list", "--nonsense"], ["trigger"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_with_a_hint(cli: Cli, arguments: list[str]):
    done = cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "--help" in done.err


def test_a_wrong_command_line_is_json_when_asked(cli: Cli):
    done = cli("runs", "list", "--nonsense", "--json")
    assert json.loads(done.err)["exitCode"] == 2


def test_help_and_version_are_no_errors(cli: Cli):
    assert cli("--help").code == 0
    assert cli("runs", "list", "-h").out.startswith("Usage: holdfast runs list")
    assert cli("--version").out.startswith("holdfast 0.")


def test_every_exit_code_has_a_meaning():
    assert set(MEANING) == set(Exit)
