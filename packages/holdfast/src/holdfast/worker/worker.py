"""The worker: holds runs, gives them to task processes, and answers for them to the coordinator.

The rule it keeps: a run that was accepted is answered for until the server has settled it, over
any number of connections; and what may have been given to somebody else is stopped.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any

from holdfast import protocol
from holdfast.manifest import sdk_version
from holdfast.protocol import Beat, Drain, Freeze, Hello, Message, Prepare, Welcome
from holdfast.telemetry import Exporter
from holdfast.worker import cgroups, endings
from holdfast.worker.backlog import Backlog
from holdfast.worker.connection import Connection, Handlers
from holdfast.worker.execution import Executions
from holdfast.worker.freezing import Freezing
from holdfast.worker.held import HeldRuns
from holdfast.worker.options import WorkerOptions
from holdfast.worker.orders import Orders
from holdfast.worker.people import People
from holdfast.worker.pool import Pool
from holdfast.worker.run import Run
from holdfast.worker.tracing import RunTelemetry
from holdfast.worker.tray import Tray
from holdfast.worker.watch import Watch


class Worker:
    """A worker, from its first connection to its end.

    Args:
        options: How it is set up.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._session = str(uuid.uuid4())
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._people = People(options.on_event)
        self._exporter = self._make_exporter()
        self._connection = Connection(
            api_url=options.api_url,
            secret_key=options.secret_key,
            handlers=Handlers(
                hello=self._hello,
                welcomed=self._welcomed,
                received=self._received,
                lost=self._disconnected,
                thawed=self._thawed,
                beat=lambda: Beat(holding=self._held.to_wire()),
            ),
        )
        self._held = HeldRuns(self._connection, on_empty=self._end_if_drained)
        self._tray = Tray()
        self._backlog = Backlog(
            capacity=options.capacity,
            held=self._held,
            connection=self._connection,
            tray=self._tray,
            start=self._start,
            lay=self._lay,
        )
        self._held.withdraw = self._backlog.withdraw
        self._executions = Executions(
            capacity=options.capacity,
            held=self._held,
            backlog=self._backlog,
            connection=self._connection,
            telemetry=RunTelemetry(self._exporter),
            people=self._people,
        )
        self._orders = Orders(
            held=self._held,
            backlog=self._backlog,
            executions=self._executions,
            people=self._people,
        )
        self._freezing = Freezing(
            held=self._held,
            connection=self._connection,
            close_others=lambda: self._spawn(self._exporter.disconnect()),
        )
        self._executions.on_prepared = self._freezing.heard
        self._orders.handlers |= {
            Prepare: self._freezing.prepare,
            Freeze: self._freezing.freeze,
        }
        self._watch = Watch(
            held=self._held,
            backlog=self._backlog,
            executions=self._executions,
            connection=self._connection,
        )

    async def run(self) -> None:
        """Work until drained or stopped.

        Raises:
            ConnectionRefused: The server refused this worker for good.
            ProjectFailed: The customer's code could not be imported.
        """
        self._spawn(self._connection.run())
        self._spawn(self._watch.run())
        self._spawn(self._exporter.run())
        await self._over.wait()
        await self._end()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take nothing new, finish what is held, then end."""
        if self._backlog.is_draining:
            return
        self._backlog.is_draining = True
        self._people.tell("draining", detail=f"{len(self._held)} runs to finish")
        self._backlog.offer()
        if self._options.drain_seconds is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._options.drain_seconds, self.stop)
        self._end_if_drained()

    def stop(self) -> None:
        """Stop what runs and end; the server is told, so that it can retry at once."""
        self._backlog.recall()  # what nobody has begun is not to be begun now
        for run in self._held:
            if run.result is None:
                self._executions.conclude(run, endings.worker_stopped())
        self._over.set()

    async def _end(self) -> None:
        await self._connection.close()
        if self._executions.pool is not None:
            await self._executions.pool.stop()
        self._tray.close()
        await self._exporter.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._people.tell("stopped")

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._over.set()

    def _end_if_drained(self) -> None:
        if self._backlog.is_draining and not self._held:
            self._over.set()

    def _start(self, run: Run) -> None:
        self._executions.start(run)

    def _lay(self, run: Run) -> bool:
        return self._executions.lay(run)

    def _hello(self) -> Hello:
        options = self._options
        return Hello(
            protocol=protocol.PROTOCOL_VERSION,
            session=self._session,
            sdk=f"python/{sdk_version()}",
            version=options.version,
            capacity=self._backlog.offered_anew(),
            pool=options.pool,
            machine=options.machine,
            instance=options.instance,
            labels=options.labels,
            holding=self._held.to_wire(),
            can_freeze=True,
            checkpoint=self._freezing.checkpoint,
        )

    def _welcomed(self, welcome: Welcome) -> None:
        self._watch.lease_seconds = welcome.lease_seconds
        self._people.tell("connected", detail=welcome.server)
        for lost in welcome.lost:
            if (run := self._held.get(lost)) is not None:
                self._held.forget(run, kill=True)
        if self._executions.pool is None:
            self._executions.pool = Pool(
                root=self._options.root,
                variables=self._variables(welcome),
                on_message=self._executions.heard,
                on_ended=self._executions.process_ended,
                tray=self._tray.descriptor,
                groups=cgroups.open_groups(),
            )
            self._spawn(self._start_pool(self._executions.pool))
        self._freezing.adopted(welcome.adopted)
        for run in self._held:
            self._held.say_again(run)

    def _variables(self, welcome: Welcome) -> dict[str, str]:
        own = {
            "HOLDFAST_API_URL": self._options.api_url,
            "HOLDFAST_SECRET_KEY": self._options.secret_key,
            "HOLDFAST_ECHO": "1" if self._options.echo else "0",
        }
        return {**welcome.variables, **own}

    async def _start_pool(self, pool: Pool) -> None:
        await pool.start()
        self._backlog.is_ready = True
        pool.warm(min(self._options.capacity, os.cpu_count() or 1))
        self._backlog.offer()
        self._people.tell("ready", detail=f"{len(pool.tasks)} tasks")
        self._backlog.dispatch()

    def _received(self, message: Message) -> None:
        if isinstance(message, Welcome):
            self._welcomed(message)
        elif isinstance(message, Drain):
            self.drain()
        else:
            self._orders.handlers[type(message)](message)

    def _thawed(self) -> None:
        """Be somebody new: the session before was frozen, and an image of it may still exist."""
        self._session = str(uuid.uuid4())

    def _disconnected(self, reason: str) -> None:
        self._people.tell("disconnected", detail=reason)

    def _make_exporter(self) -> Exporter:
        options = self._options
        return Exporter(
            api_url=options.api_url,
            secret_key=options.secret_key,
            resource={
                "service.name": "holdfast-worker",
                "service.version": options.version,
                "service.instance.id": self._session,
                "holdfast.pool": options.pool or None,
            },
        )
