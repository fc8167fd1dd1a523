"""The template: a process that has imported the customer's code once, and forks task processes.

It is a plain select loop without threads, so that what it forks is whole. It is the subreaper of
everything below it: what a dead task process leaves behind becomes the template's child, is
recognised as nobody's, and is killed. When the worker dies, the template kills all and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import httpx  # noqa: F401 -- once, before the fork: otherwise each task process imports it

from holdfast.index import describe
from holdfast.manifest import build_manifest
from holdfast.project import Project, import_tasks, load
from holdfast.retry import Retry
from holdfast.tasks import registry
from holdfast.worker import cgroups, linux
from holdfast.worker.frames import Frame, Unpacker, pack
from holdfast.worker.task_process import run_task_process


def main(descriptor: int, root: str, group: str | None, tray: int | None) -> None:
    """Import the project, report, then fork as told until the worker is gone.

    Args:
        descriptor: The template's end of the socket pair.
        root: The project's folder.
        group: The cgroup below which each task process has its own; None: there are none.
        tray: The reading end of the tray; None: there is none.
    """
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    if tray is not None:
        os.set_inheritable(tray, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linux.adopt_orphans()
    try:
        tasks = _import(Path(root))
    except BaseException as error:  # the customer's code may raise anything, SystemExit included
        found = describe(error)
        text = found["traceback"] or found["message"]
        control.sendall(pack({"op": "failed", "traceback": text}))
        return
    Template(control, None if group is None else Path(group), tray).run(tasks)


def _import(root: Path) -> list[dict[str, Any]]:
    os.chdir(root)
    project: Project = load(root)
    import_tasks(project)
    registry.default_retry = Retry.of(project.defaults.retry)
    manifest = build_manifest(root=root, defaults=project.defaults)
    return [_brief(task.to_wire()) for task in manifest.tasks]


def _brief(task: dict[str, Any]) -> dict[str, Any]:
    """What the worker needs to know of a task."""
    wanted = ("id", "retry", "machine", "maxDuration", "isolation", "durable")
    return {name: task[name] for name in wanted if name in task}


class Template:
    """The fork server."""

    def __init__(self, control: socket.socket, group: Path | None, tray: int | None) -> None:
        self._control = control
        self._group = group
        self._tray = tray
        self._unpacker = Unpacker()
        self._descriptors: list[int] = []
        self._known: set[int] = set()
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, tasks: list[dict[str, Any]]) -> None:
        """Serve until the other end is closed."""
        helpers = set(linux.children_of(os.getpid()))  # what the imports have started stays
        signal.set_wakeup_fd(self._wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._send({"op": "ready", "tasks": tasks})
        while True:
            watched: list[int | socket.socket] = [self._control, self._wake]
            ready = select.select(watched, [], [])[0]
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            self._reap(helpers)
            if self._control in ready and not self._receive():
                break
        self._kill_all(helpers)

    def _receive(self) -> bool:
        """Handle what the worker sent; False when it is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65_536, 64)
        except ConnectionError:
            return False
        self._descriptors.extend(descriptors)
        for message in self._unpacker.feed(data):
            self._handle(message)
        return bool(data)

    def _handle(self, message: Frame) -> None:
        if message["op"] == "fork":
            self._fork(message["id"], self._descriptors.pop(0))
        elif message["op"] == "kill" and message["pid"] in self._known:
            _kill(message["pid"])

    def _fork(self, identity: int, descriptor: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._send({"op": "not_forked", "id": identity, "reason": str(error)})
            return
        if pid == 0:
            self._become_task_process(descriptor)
        os.close(descriptor)
        self._known.add(pid)
        self._send({"op": "forked", "id": identity, "pid": pid})

    def _become_task_process(self, descriptor: int) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._wake)
            os.close(self._wake_write)
            self._control.close()
            for other in self._descriptors:
                os.close(other)
            cgroups.join(self._group)
            tray = None if self._tray is None else socket.socket(fileno=self._tray)
            status = run_task_process(socket.socket(fileno=descriptor), tray)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self, helpers: set[int]) -> None:
        """Report ended task processes, and leave nothing of theirs alive."""
        ended: list[tuple[int, int]] = []
        while (pid := self._next_ended()) is not None:
            if pid in self._known:
                _kill_group(pid)  # while the zombie still holds the group's number
            _, status = os.waitpid(pid, 0)
            helpers.discard(pid)
            if pid in self._known:
                self._known.discard(pid)
                ended.append((pid, status))
        self._kill_orphans(helpers)
        for pid, status in ended:
            self._send({"op": "exited", "pid": pid, "status": status})

    def _next_ended(self) -> int | None:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        return None if ended is None else ended.si_pid

    def _kill_orphans(self, helpers: set[int]) -> None:
        """Kill every child that is neither a task process nor older than the first of them."""
        for pid in linux.children_of(os.getpid()):
            if pid not in self._known and pid not in helpers:
                _kill(pid)

    def _kill_all(self, helpers: set[int]) -> None:
        for pid in self._known:
            _kill(pid)
        while self._known:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            self._reap(helpers)

    def _send(self, message: Frame) -> None:
        with contextlib.suppress(OSError):  # the worker is gone: the loop will see it
            self._control.sendall(pack(message))


def _kill(pid: int) -> None:
    """Kill a child and its process group; both are safe while the child is not reaped."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    main(**arguments)
