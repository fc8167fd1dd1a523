"""The dispatcher: one loop per process that settles reports and claims work for its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import IntEnum
from functools import cache
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

from apps.coordinator.seats import Seat
from apps.core import clock, metrics
from apps.core.database import DatabaseThread, Outage
from apps.core.hearing import listen
from apps.core.ids import public_id
from apps.runs.limits import limits
from apps.runs.operations.at_hand import Hand, attend
from apps.runs.operations.checkpoints import prepare, quiet
from apps.runs.operations.claim import Claimed, Offer
from apps.runs.operations.exchange import exchange, take_turn
from apps.runs.operations.reports import Answer, Report, as_failure
from apps.runs.operations.sessions import Beats, close_session, extend_leases, touch_sessions
from holdfast.protocol import Execute, Freeze, Held, Malformed, Message, Prepare

_OUTAGE_PAUSE = 0.5
_FEW = 8  # a claim that gave fewer has left nothing that could start
_MANY = 8  # reports with which the claim is not worth a look before

log = logging.getLogger(__name__)


class Look(IntEnum):
    """How much there may be to claim, as far as this process has heard since its last turn."""

    NOTHING = 0
    PERHAPS = 1
    CLAIM = 2


class Dispatcher:
    """All worker sessions of this process, and the loop that serves them.

    Reports are taken as they come and settled together; while PostgreSQL is away they wait here,
    and the workers keep their results until they are answered.
    """

    def __init__(self) -> None:
        self.identity = uuid4()
        self.database = DatabaseThread("dispatcher")
        self._seats: dict[UUID, Seat] = {}
        self._reports: list[Report] = []
        self._beats: dict[UUID, dict[UUID, int]] = {}
        self._wake = asyncio.Event()
        self._hope = Look.CLAIM
        self._lock = Lock()  # of which places are offered to whom
        self._is_offering = False
        self._tasks: list[asyncio.Task[None]] = []
        self._look: asyncio.TimerHandle | None = None

    # -- What sockets call ---------------------------------------------------------------------

    def seat(self, seat: Seat) -> None:
        """A worker is connected; it may be back, before its old connection was seen to end."""
        self._ensure_running()
        self._seats[seat.session_id] = seat
        metrics.workers_connected.set(len(self._seats))
        self._wake_up(Look.CLAIM)

    def unseat(self, seat: Seat) -> bool:
        """The connection of this seat ended; True unless the worker has another by now."""
        if self._seats.get(seat.session_id) is not seat:
            return False
        del self._seats[seat.session_id]
        metrics.workers_connected.set(len(self._seats))
        return True

    def report(self, reports: Iterable[Report]) -> None:
        self._reports.extend(reports)
        # an end, or what may be one, frees a place that another run may have
        frees = any(report.may_end for report in self._reports)
        self._wake_up(Look.PERHAPS if frees else Look.NOTHING)

    def resize(self, seat: Seat, slots: int) -> None:
        seat.capacity = slots
        self._wake_up(Look.CLAIM)

    def beat(self, seat: Seat, holding: list[Held]) -> None:
        """What a worker still holds; all workers' beats are written together."""
        self._beats[seat.session_id] = seat.beat(holding)

    def freeze(self, seat: Seat, checkpoint_id: UUID) -> None:
        """A worker is ready to be frozen; from now on it gets nothing, unless that is too late."""
        step = self._guarded(self._freeze, seat, checkpoint_id)
        asyncio.get_running_loop().create_task(step)

    def _wake_up(self, look: Look) -> None:
        self._hope = max(self._hope, look)
        self._wake.set()

    # -- The loops -----------------------------------------------------------------------------

    def _ensure_running(self) -> None:
        if self._tasks and not any(task.done() for task in self._tasks):
            return
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        attend(lambda environment_id: self._keep_free(environment_id, loop))
        self._tasks = [
            loop.create_task(self._serve()),
            loop.create_task(self._prolong()),
            loop.create_task(listen(self._heard)),
        ]

    def _heard(self, ring: dict[str, Any]) -> None:
        match ring:
            case {"kind": "ready", "environment": None}:
                self._wake_up(Look.CLAIM)
            case {"kind": "ready", "environment": environment}:
                if any(
                    str(s.environment_id) == environment and s.free for s in self._seats.values()
                ):
                    self._wake_up(Look.CLAIM)
            case {"session": session}:
                if seat := self._seats.get(UUID(session)):
                    self._heard_of(seat, ring)

    def _heard_of(self, seat: Seat, ring: dict[str, Any]) -> None:
        match ring:
            case {"kind": "cancel", "run": run}:
                step = self._guarded(self._ask_about, seat, UUID(run))
                asyncio.get_running_loop().create_task(step)
            case {"kind": "freeze", "checkpoint": checkpoint} if seat.can_freeze:
                seat.send([Prepare(checkpoint=checkpoint)])
            case {"kind": "moved", "coordinator": coordinator}:
                if coordinator != str(self.identity):
                    self.unseat(seat)

    async def _serve(self) -> None:
        while True:
            try:
                async with asyncio.timeout(limits().poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._hope = max(self._hope, Look.PERHAPS)  # whatever was not heard
            self._wake.clear()
            await self._guarded(self._turn)

    async def _turn(self) -> None:
        reports, self._reports = self._reports, []
        look, self._hope = self._hope, Look.NOTHING
        offers = self._offers() if look else []
        if not reports and not offers:
            return
        is_likely = look == Look.CLAIM or len(reports) >= _MANY
        try:
            with metrics.claim_seconds.time():
                turn = await self.database.run(
                    take_turn, reports, offers, is_likely=is_likely, now=clock.now()
                )
        except Outage as error:
            log.warning("PostgreSQL is away, reports are kept", extra={"error": str(error)})
            self._reports = reports + self._reports
            await asyncio.sleep(_OUTAGE_PAUSE)
            self._wake_up(Look.CLAIM)
        except Exception:
            log.exception("a turn failed; its parts are tried one by one")
            await self._one_by_one(reports, offers)
            await asyncio.sleep(0 if reports else _OUTAGE_PAUSE)
        else:
            self._deliver(turn.answers)
            self._look_at(turn.free_at)
        finally:
            self._is_offering = False

    def _offers(self) -> list[Offer]:
        with self._lock:
            offers = [seat.offer for seat in self._seats.values() if seat.free]
            self._is_offering = bool(offers)
        return offers

    def _keep_free(self, environment_id: UUID, loop: asyncio.AbstractEventLoop) -> Hand:
        """A place at each worker of an environment for a trigger to fill; asked on any thread.

        None while a turn offers the same places: it finds the run, or hears of it.
        """
        with self._lock:
            if self._is_offering:
                return Hand()
            seats = [seat for seat in list(self._seats.values()) if seat.can_take(environment_id)]
            offers = [replace(seat.offer, free=1, holds_suspended=False) for seat in seats]
            for seat in seats:
                seat.kept_free += 1

        def give_back(claimed: Claimed) -> None:
            loop.call_soon_threadsafe(self._given_back, seats, claimed)

        return Hand(offers=offers, give_back=give_back) if seats else Hand()

    def _given_back(self, seats: Sequence[Seat], claimed: Claimed) -> None:
        with self._lock:
            for seat in seats:
                seat.kept_free -= 1
            self._deliver(claimed.answers)
        self._look_at(claimed.free_at)
        if len(claimed.answers) < len(seats):
            self._wake_up(Look.PERHAPS)  # nobody else was offered these places

    def _look_at(self, moment: datetime | None) -> None:
        """Look again when a rate allows a start, for which nobody rings; the earliest counts."""
        if moment is None:
            return
        loop = asyncio.get_running_loop()
        seconds = max(0.0, (moment - clock.now()).total_seconds())
        is_due = self._look is not None and self._look.when() > loop.time()
        if is_due and self._look is not None and self._look.when() <= loop.time() + seconds:
            return
        if self._look is not None:
            self._look.cancel()
        self._look = loop.call_later(seconds, self._wake_up, Look.CLAIM)

    async def _one_by_one(self, reports: list[Report], offers: list[Offer]) -> None:
        """Settle and claim each by itself, so that one that cannot be done stops no other."""
        for report in reports:
            self._deliver(await self._settle_alone(report, as_failure))
        for offer in offers:
            try:
                self._deliver(await self.database.run(exchange, [], [offer], now=clock.now()))
            except Outage:
                return
            except Exception:
                log.exception("an offer failed", extra={"session": str(offer.session_id)})

    async def _settle_alone(
        self, report: Report, instead: Callable[[Report, str], Report | None]
    ) -> list[Answer]:
        """Settle a report, or what is reported `instead` of one that cannot be settled."""
        try:
            return await self.database.run(exchange, [report], [], now=clock.now())
        except Outage:
            self._reports.append(report)
            return []
        except Exception as error:
            log.exception("a report cannot be settled", extra={"run": report.message.run})
            if other := instead(report, repr(error)):
                return await self._settle_alone(other, lambda *_: None)
            text = f"{report.message.type} of {report.message.run} could not be settled: {error!r}"
            return [Answer(session_id=report.session_id, message=Malformed(detail=text))]

    def _deliver(self, answers: Iterable[Answer]) -> None:
        grouped: dict[UUID, list[Message]] = {}
        claimed = 0
        for answer in answers:
            grouped.setdefault(answer.session_id, []).append(answer.message)
            claimed += isinstance(answer.message, Execute)
        for session_id, messages in grouped.items():
            # a worker that left meanwhile: its leases run out, or it asks when it is back
            if seat := self._seats.get(session_id):
                was_full = not seat.free
                for message in messages:
                    seat.note(message)
                seat.send(messages)
                # a full one was not offered in this turn
                if was_full and seat.free:
                    self._wake_up(Look.PERHAPS)
        metrics.claims.inc(claimed)
        if claimed >= _FEW:
            self._wake_up(Look.CLAIM)
        metrics.runs_held.set(sum(len(seat.holds) for seat in self._seats.values()))

    async def _prolong(self) -> None:
        """Write the beats of all workers, in one statement per interval."""
        while True:
            await asyncio.sleep(limits().beat_seconds / 3)
            beats, self._beats = self._beats, {}
            told = [Beats(session_id=s, generations=held) for s, held in beats.items()]
            await self._guarded(self._write_beats, told)

    async def _write_beats(self, told: list[Beats]) -> None:
        if not told:
            return
        sessions = [beat.session_id for beat in told]
        await self.database.run(touch_sessions, sessions, now=clock.now())
        await self._extend(told)

    async def _extend(self, told: list[Beats]) -> None:
        extended = await self.database.run(extend_leases, told, now=clock.now())
        for session_id, kept in extended.kept.items():
            if seat := self._seats.get(session_id):
                seat.confirm(kept)
        self._deliver(extended.answers)

    async def _ask_about(self, seat: Seat, run_id: UUID) -> None:
        """Look now at a run that is being canceled, instead of at the next beat."""
        if hold := seat.holds.get(public_id("run", run_id)):
            generations = {run_id: hold.generation}
            await self._extend([Beats(session_id=seat.session_id, generations=generations)])

    async def _freeze(self, seat: Seat, checkpoint_id: UUID) -> None:
        capacity, seat.capacity = seat.capacity, 0
        if await self.database.run(prepare, seat.session_id, checkpoint_id, now=clock.now()):
            self.unseat(seat)
            checkpoint = public_id("checkpoint", checkpoint_id)
            seconds = quiet().total_seconds()
            seat.send([Freeze(checkpoint=checkpoint, quiet_seconds=seconds)])
        else:
            self.resize(seat, capacity)

    async def _guarded(self, step: Callable[..., Any], *args: Any) -> None:
        """Run a step whose failure must not end its loop: the next round makes up for it."""
        try:
            await step(*args)
        except Outage as error:
            log.warning("PostgreSQL is away", extra={"error": str(error)})
        except Exception:
            log.exception("a step of the dispatcher failed", extra={"step": step.__name__})

    async def forget(self, seat: Seat) -> None:
        """Note in PostgreSQL that a worker is gone, if it is and if that can be noted now."""
        if not self.unseat(seat):
            return
        with contextlib.suppress(Outage):
            await self.database.run(
                close_session, seat.session_id, coordinator=self.identity, now=clock.now()
            )


@cache
def dispatcher() -> Dispatcher:
    """The dispatcher of this process."""
    return Dispatcher()
