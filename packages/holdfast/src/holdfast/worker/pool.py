"""The worker's view of its processes: one template, and the task processes that it forks.

The asyncio process itself never forks. It makes a socket pair per task process, sends one end to
the template with the order to fork, and learns from the template how each process ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.machines import Machine
from holdfast.worker.cgroups import Groups
from holdfast.worker.frames import Frame, FrameProtocol, Unpacker, pack, pack_body

_log = logging.getLogger("holdfast.worker")

RUNS_PER_PROCESS = 1_000
"""A task process is replaced after so many runs, for what customers' code may leak."""

_LAST_WORDS_SECONDS = 1.0
_LOOKS_AT_GROUPS = 50


class ProjectFailed(Exception):
    """The customer's code could not be imported; the text is the traceback."""


class TaskProcess:
    """One task process as the worker sees it.

    Attributes:
        pid: Its process id; None until it was forked.
        runs: How many runs it was given.
        busy_with: The id of the run that it executes.
        status: Its wait status once it has ended.
        is_leaving: Whether it was told to leave its run, and has not yet.
    """

    def __init__(self, pool: Pool, identity: int) -> None:
        self.identity = identity
        self.pid: int | None = None
        self.runs = 0
        self.busy_with: str | None = None
        self.status: int | None = None
        self.is_leaving = False
        self._pool = pool
        self._is_open = False
        self._waiting: list[bytes] = []
        self._is_silent = False
        self._is_over = False
        self._kill_wanted = False
        self._machine: Machine | None = None
        self.connecting: asyncio.Task[Any] | None = None
        self.link = FrameProtocol(self._received, self._lost)

    async def connect(self, channel: socket.socket) -> None:
        """Open the worker's end of the socket pair, and send what has been waiting for it."""
        await asyncio.get_running_loop().create_connection(lambda: self.link, sock=channel)
        waiting, self._waiting = self._waiting, []
        self._is_open = True
        for body in waiting:
            self.link.send_body(body)

    @property
    def is_doomed(self) -> bool:
        """Whether it is about to be killed."""
        return self._kill_wanted

    def send(self, message: Frame) -> None:
        """Tell it something; lost when it is gone."""
        self.send_body(pack_body(message))

    def send_body(self, body: bytes) -> None:
        """Tell it what is packed already."""
        if self._is_open:
            self.link.send_body(body)
        else:
            self._waiting.append(body)

    def hold_to(self, machine: Machine) -> None:
        """Let it have no more than this machine from now on."""
        self._machine = machine
        if self.pid is not None and self.status is None:
            self._pool.limit(self.pid, machine)

    def kill(self) -> None:
        """Kill it and everything below it."""
        self._kill_wanted = True
        if self.pid is not None and self.status is None:
            self._pool.order({"op": "kill", "pid": self.pid})

    def forked(self, pid: int) -> None:
        """It exists now."""
        self.pid = pid
        if self._machine is not None:
            self._pool.limit(pid, self._machine)
        if self._kill_wanted:
            self.kill()

    def exited(self, status: int) -> None:
        """It has ended; what it wrote before may still be on its way."""
        self.status = status
        if self._is_silent:
            self._over()
        else:  # a descendant may still hold the socket
            asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._over)

    def _received(self, message: Frame) -> None:
        self._pool.on_message(self, message)

    def _lost(self) -> None:
        self._is_silent = True
        if self.status is not None:
            self._over()

    def _over(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.link.close()
            self._pool.ended(self)


class Pool:
    """The template and the task processes of a worker.

    Args:
        root: The project's folder.
        variables: Environment variables for the customer's code, on top of this process's own.
        on_message: Called with each message of a task process.
        on_ended: Called once when a task process is gone, after its last message.
        tray: The descriptor of where they take runs by themselves; None: there is none.
        groups: The cgroups that hold them to their machines; None: there are none.
    """

    def __init__(
        self,
        *,
        root: Path,
        variables: dict[str, str],
        on_message: Callable[[TaskProcess, Frame], None],
        on_ended: Callable[[TaskProcess], None],
        tray: int | None,
        groups: Groups | None = None,
    ) -> None:
        self.on_message = on_message
        self.tasks: dict[str, dict[str, Any]] = {}
        self._on_ended = on_ended
        self._root = root
        self._variables = variables
        self._tray = tray
        self._groups = groups
        self._processes: dict[int, TaskProcess] = {}
        self._idle: list[TaskProcess] = []
        self._count = 0
        self._ready: asyncio.Future[None] | None = None
        self._template: asyncio.subprocess.Process | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._control: socket.socket | None = None
        self._unpacker = Unpacker()
        self._is_closing = False

    async def start(self) -> None:
        """Start the template and wait until it has imported the project.

        Raises:
            ProjectFailed: The import failed.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._control, self._ready = ours, loop.create_future()
        self._unpacker = Unpacker()
        group = None if self._groups is None else str(self._groups.path)
        tray = self._tray
        argument = json.dumps(
            {"descriptor": theirs.fileno(), "root": str(self._root), "group": group, "tray": tray}
        )
        with theirs:
            self._template = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "holdfast.worker.template",
                argument,
                pass_fds=[theirs.fileno(), *([] if tray is None else [tray])],
                env={**os.environ, **self._variables},
                start_new_session=True,
            )
        loop.add_reader(ours.fileno(), self._readable)
        await self._ready

    async def stop(self) -> None:
        """Kill all task processes and the template, and wait until they are gone."""
        self._is_closing = True
        self._close_control()
        if self._template is not None:
            await self._template.wait()
        await self._close_groups()

    @property
    def size(self) -> int:
        """How many task processes there are, also those that are about to be."""
        return len(self._processes)

    @property
    def idle_count(self) -> int:
        """How many wait for a run."""
        return len(self._idle)

    @property
    def sets_limits(self) -> bool:
        """Whether a process has to be held to the machine of each run before it begins."""
        return self._groups is not None

    def busy(self) -> list[TaskProcess]:
        """Those that execute a run."""
        return [p for p in self._processes.values() if p.busy_with is not None]

    def take(self, *, fresh: bool = False) -> TaskProcess:
        """A task process for a run, the one used latest if there is one; else a new one.

        Args:
            fresh: Whether it must not have executed anything before.
        """
        for index in range(len(self._idle) - 1, -1, -1):
            if not fresh or self._idle[index].runs == 0:
                return self._idle.pop(index)
        return self._fork()

    def warm(self, count: int) -> None:
        """Fork ahead until `count` processes are idle."""
        while len(self._idle) < count:
            self._idle.append(self._fork())

    def give_back(self, process: TaskProcess, *, used_up: bool) -> None:
        """Return a process after a run."""
        process.busy_with = None
        if used_up or process.is_doomed or process.runs >= RUNS_PER_PROCESS:
            process.kill()
        else:
            self._idle.append(process)

    def trim(self, most: int) -> None:
        """End idle processes above a number, the longest unused first."""
        while len(self._idle) > most:
            self._idle.pop(0).kill()

    def limit(self, pid: int, machine: Machine) -> None:
        """Write the limits of a machine for one process, where the kernel keeps them."""
        if self._groups is not None:
            self._groups.limit(pid, machine)

    def order(self, message: Frame, descriptors: tuple[int, ...] = ()) -> None:
        """Tell the template something."""
        if self._control is None:
            return
        try:
            if descriptors:
                socket.send_fds(self._control, [pack(message)], list(descriptors))
            else:
                self._control.send(pack(message))
        except OSError as error:
            _log.warning("the template cannot be reached: %s", error)

    def ended(self, process: TaskProcess) -> None:
        """A process is gone, and all that it had to say has been heard."""
        self._processes.pop(process.identity, None)
        if process in self._idle:
            self._idle.remove(process)
        if self._groups is not None and process.pid is not None:
            self._groups.ended(process.pid)
        self._on_ended(process)

    async def _close_groups(self) -> None:
        for _ in range(_LOOKS_AT_GROUPS):
            if self._groups is None or self._groups.close():
                return
            await asyncio.sleep(_LAST_WORDS_SECONDS / _LOOKS_AT_GROUPS)

    def _fork(self) -> TaskProcess:
        self._count += 1
        process = TaskProcess(self, self._count)
        self._processes[process.identity] = process
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self.order({"op": "fork", "id": process.identity}, (theirs.fileno(),))
        loop = asyncio.get_running_loop()
        process.connecting = loop.create_task(process.connect(ours))
        return process

    def _readable(self) -> None:
        if self._control is None:
            return
        try:
            data = self._control.recv(65_536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._template_lost()
            return
        for message in self._unpacker.feed(data):
            self._handle(message)

    def _handle(self, message: Frame) -> None:
        operation = message["op"]
        if operation == "ready":
            self.tasks = {task["id"]: task for task in message["tasks"]}
            self._settle(None)
        elif operation == "failed":
            self._settle(ProjectFailed(message["traceback"]))
        else:
            self._tell_process(message)

    def _tell_process(self, message: Frame) -> None:
        """Pass on what the template says about one of its children."""
        operation = message["op"]
        if operation == "exited":
            for process in list(self._processes.values()):
                if process.pid == message["pid"]:
                    process.exited(message["status"])
            return
        process = self._processes[message["id"]]
        if operation == "forked":
            process.forked(message["pid"])
        else:
            _log.error("no task process could be started: %s", message["reason"])
            process.exited(signal.SIGKILL)

    def _settle(self, error: Exception | None) -> None:
        if self._ready is None or self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    def _template_lost(self) -> None:
        """The template died: its task processes die with it; start another unless closing."""
        self._close_control()
        self._settle(ProjectFailed("the template process ended while importing the project"))
        for process in list(self._processes.values()):
            process.exited(signal.SIGKILL)
        if not self._is_closing and self.tasks:
            _log.error("the template process has died; starting another")
            self._restarting = asyncio.get_running_loop().create_task(self.start())

    def _close_control(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
