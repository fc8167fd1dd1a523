"""Developing: the project's tasks run here, and change as they are edited."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from holdfast.api_errors import ApiError
from holdfast.cli.exits import Exit
from holdfast.cli.indexing import Indexer, IndexFailed
from holdfast.cli.output import Output, duration
from holdfast.cli.session import Session, Target, here, pass_session
from holdfast.cli.tree import Command
from holdfast.cli.watching import changes, look
from holdfast.cli.worker_events import WorkerLines, refusal
from holdfast.client import HoldfastClient
from holdfast.project import Project
from holdfast.worker import ConnectionRefused, ProjectFailed, Worker, WorkerEvent, WorkerOptions


@click.command(cls=Command)
@click.option(
    "--capacity",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    metavar="N",
    help="Runs at once; the number of CPUs unless said otherwise.",
)
@click.option("--echo", is_flag=True, help="Show what runs print.")
@pass_session
def dev(session: Session, /, capacity: int, echo: bool) -> Exit:
    """Run the tasks here, and reload them as you edit.

    A development version is registered, and again whenever a file is saved: new runs execute the
    new code at once, those that run are finished by the old. Code that cannot be imported is shown
    with its traceback, and the version before stays. Each run that ends is one line.

    Ctrl-C finishes what runs; a second Ctrl-C stops it.
    """
    project = session.local_project
    session.without_branch()
    target = session.target("dev")
    where = f"{target.environment} at {target.api_url}"
    session.output.note(f"Developing {here(project.root)} for {where}")
    development = Development(
        session.output, project, target, ref=session.require_project_ref(), capacity=capacity,
        echo=echo,
    )  # fmt: skip
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    asyncio.run(development.run())
    return Exit.OK


class Development:
    """The life of one `holdfast dev`: a current worker, and older ones that finish their runs."""

    def __init__(
        self,
        output: Output,
        project: Project,
        target: Target,
        *,
        ref: str,
        capacity: int,
        echo: bool,
    ) -> None:
        self._output = output
        self._project = project
        self._target = target
        self._ref = ref
        self._capacity = capacity
        self._echo = echo
        self._lines = WorkerLines(output)
        self._indexer = Indexer(project.root)
        self._content_hash = ""
        self._version = ""
        self._current: Worker | None = None
        self._workers: dict[Worker, asyncio.Task[None]] = {}
        self._end = asyncio.Event()
        self._failure: BaseException | None = None
        self._signals = 0

    async def run(self) -> None:
        """Develop until told to stop; raises what makes going on pointless."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        async with HoldfastClient(
            api_url=self._target.api_url, secret_key=self._target.secret_key, source="cli"
        ) as client:
            watching = asyncio.create_task(self._watch(client))
            watching.add_done_callback(self._watching_ended)
            await self._end.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._stop_workers()
        await self._indexer.close()
        if self._signals:
            self._output.note("Stopped.")
        if self._failure is not None:
            raise self._failure

    async def _watch(self, client: HoldfastClient) -> None:
        before = look(self._project)
        await self._reload(client, changed=[])
        async for changed in changes(self._project, since=before):
            await self._reload(client, changed=changed)

    async def _reload(self, client: HoldfastClient, *, changed: list[Path]) -> None:
        """Make a version of the code as it is now, and let a new worker take over."""
        started = time.monotonic()
        try:
            manifest = await self._indexer.read()
        except IndexFailed as error:
            self._complain(error)
            return
        if manifest["contentHash"] == self._content_hash:
            return
        try:
            registered = await client.deployments.register(self._ref, manifest)
        except ApiError as error:
            if not self._content_hash:
                raise
            self._output.note(f"The new version is not registered: {error}")
            return
        self._content_hash, self._version = manifest["contentHash"], registered.version
        self._start_worker(_describe(manifest, changed), started)

    def _complain(self, error: IndexFailed) -> None:
        self._content_hash = ""  # so that undoing the mistake counts as a change
        self._output.record(
            {"event": "import_failed", "message": str(error), "traceback": error.traceback}
        )
        self._output.block(error.traceback or str(error))
        stays = f"version {self._version} stays" if self._version else "waiting for a change"
        self._output.note(f"The tasks cannot be imported: {error}; {stays}.")

    def _start_worker(self, what: str, started: float) -> None:
        older, version = self._current, self._version

        def ready() -> None:
            took = duration(time.monotonic() - started)
            self._output.note(f"Version {version} is ready in {took}: {what}")
            if older is not None:
                older.drain()

        worker = Worker(
            WorkerOptions(
                root=self._project.root,
                api_url=self._target.api_url,
                secret_key=self._target.secret_key,
                version=version,
                capacity=self._capacity,
                echo=self._echo,
                on_event=self._listener(ready),
            )
        )
        self._current = worker
        task = asyncio.create_task(worker.run())
        self._workers[worker] = task
        task.add_done_callback(lambda _: self._worker_ended(worker))

    def _listener(self, ready: Callable[[], None]) -> Callable[[WorkerEvent], None]:
        def take(event: WorkerEvent) -> None:
            self._lines.take(event)
            if event.kind == "ready":
                ready()

        return take

    def _worker_ended(self, worker: Worker) -> None:
        task = self._workers.pop(worker)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ProjectFailed) and worker is self._current:
            self._complain(IndexFailed("a worker could not import them", str(error)))
        elif isinstance(error, ConnectionRefused):
            self._fail(refusal(error, self._output))
        elif error is not None:
            self._fail(error)

    def _watching_ended(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._end.set()

    async def _stop_workers(self) -> None:
        """Finish what runs; a second signal has `_on_signal` stop it."""
        for worker in list(self._workers):
            worker.drain()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)

    def _on_signal(self) -> None:
        self._signals += 1
        self._end.set()
        if self._signals == 1:
            self._output.note("Stopping: what runs is finished first, a second Ctrl-C stops it.")
        else:
            self._output.note("Stopping what runs.")
            for worker in list(self._workers):
                worker.stop()


def _describe(manifest: dict[str, Any], changed: list[Path]) -> str:
    names = ", ".join(task["id"] for task in manifest["tasks"]) or "no tasks"
    if not changed:
        return names
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{here(changed[0])}{more} changed"
