"""The journal of a durable run: what its code was given, in order, and how it is given it again.

The rule it keeps: results reach the code one at a time, each only when the code has done all that
it can do with those before; so a journal, replayed in its order, makes the same code take the same
way. A place in the code is a path: each asyncio task that the code starts beside itself counts its
calls on its own, whichever of them comes first.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from holdfast import packets
from holdfast.errors import ChildRunFailed, Evicted, NonDeterminismError
from holdfast.protocol import Entry

PATIENCE_SECONDS = 1.0
"""How long a replay waits for a call that the journal has next while others wait behind it."""

_MOST_ROUNDS = 200
_DIGEST_LENGTH = 16
PATCH = "patch"


class Branch:
    """A line of the code that counts its calls: the function, or a task that it has started."""

    __slots__ = ("count", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.count = 0

    def next(self) -> str:
        """The position of the next call."""
        self.count += 1
        return f"{self.path}.{self.count}" if self.path else str(self.count)


branch: ContextVar[Branch | None] = ContextVar("holdfast.branch", default=None)
"""The branch that the calling code is on; None inside of steps and outside of durable runs."""


in_step: ContextVar[bool] = ContextVar("holdfast.in_step", default=False)
"""Whether the calling code is part of a step, which is one unit and may not wait."""


@contextmanager
def outside() -> Iterator[None]:
    """Leave the journaled code: what is called in here is neither counted nor recorded."""
    token, inside = branch.set(None), in_step.set(True)
    try:
        yield
    finally:
        in_step.reset(inside)
        branch.reset(token)


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """A task factory for loops that durable runs execute on: a task gets a branch of its own."""
    parent = branch.get()
    if parent is not None and options.get("context") is None and _is_in_task(loop):
        context = contextvars.copy_context()
        context.run(branch.set, Branch(parent.next()))
        options["context"] = context
    return asyncio.Task(coroutine, loop=loop, **options)


def _is_in_task(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the code of a task is what runs now, and not a callback of this package's."""
    try:
        return asyncio.current_task(loop) is not None
    except RuntimeError:
        return False


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One call that the code makes.

    Attributes:
        position: Its place in the code.
        kind: ``step``, ``now``, ``random``, ``uuid``, ``patch``, ``trigger``, ``wait``, …
        name: Of what.
        after: The `seq` of the latest result that the code knew.
        digest: That of its arguments.
        recorded: What the journal has of it.
        seq: The `seq` of its result, once the code has been given it.
        started: When it was made, in seconds since 1970.
        remarks: The `seq` of each remark about it.
    """

    position: str
    kind: str
    name: str
    after: int
    digest: str | None
    recorded: Entry | None = None
    seq: int = 0
    started: float = field(default_factory=time.time)
    remarks: list[int] = field(default_factory=list)

    def entry(self, packet: packets.Packet, *, attempts: int = 1) -> Entry:
        """What is recorded of a call that has returned."""
        return replace(
            self._entry(), output=packet.data, output_type=packet.data_type, attempts=attempts
        )

    def failure(self, error: dict[str, Any], *, attempts: int = 1) -> Entry:
        """What is recorded of a call that has raised."""
        return replace(self._entry(), ok=False, error=error, attempts=attempts)

    def _entry(self) -> Entry:
        return Entry(
            seq=0,
            position=self.position,
            kind=self.kind,
            name=self.name,
            after=self.after,
            digest=self.digest,
            started_ms=round(self.started * 1000),
            took_ms=max(0, round((time.time() - self.started) * 1000)),
        )


@dataclass(slots=True, eq=False)
class _Delivery:
    entry: Entry
    future: asyncio.Future[Entry]


class Journal:
    """The journal of one run in one process.

    Attributes:
        beyond: The calls that had no record.

    Args:
        seed: What random numbers and UUIDs are drawn from: the run's id.
        entries: What has been recorded so far.
        on_pending: Called when there is something to send; not more than once per `take`.
        on_frontier: Called when the code has been given everything that was recorded.
        is_sealed: Whether it is only read: what is not recorded is never done.
    """

    def __init__(
        self,
        *,
        seed: str,
        entries: Iterable[Entry] = (),
        on_pending: Callable[[], None] = lambda: None,
        on_frontier: Callable[[], None] = lambda: None,
        is_sealed: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._seed = seed
        self._on_pending = on_pending
        self._on_frontier = on_frontier
        self._is_sealed = is_sealed
        self.beyond: list[Call] = []
        ordered = sorted(entries, key=lambda entry: entry.seq)
        self._recorded = {entry.position: entry for entry in ordered}
        self._order = deque(entry for entry in ordered if entry.kind != PATCH)
        self._furthest = _furthest(self._recorded)
        self._replayed_from = len(self._order)
        self._called: set[str] = set()
        self._waiting: dict[str, _Delivery] = {}
        self._completed: deque[_Delivery] = deque()
        self._patches: dict[str, bool] = {}
        self._latest = 0
        self._seq = ordered[-1].seq if ordered else 0
        self._acknowledged = self._seq
        self._pending: list[Entry] = []
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []
        self._raised: list[tuple[BaseException, tuple[int, ...]]] = []
        self._children: dict[str, tuple[int, ...]] = {}
        self._is_settling = False
        self._patience: asyncio.TimerHandle | None = None
        self._end: BaseException | None = None

    # -- What the code calls -------------------------------------------------------------------

    @property
    def is_replaying(self) -> bool:
        """Whether the code has still to be given what was recorded."""
        return bool(self._order)

    def call(
        self, kind: str, name: str, *, digest: str | None = None, position: str | None = None
    ) -> Call:
        """Take the next position for a call.

        Args:
            kind: The kind of call.
            name: Of what.
            digest: That of the arguments.
            position: Where, when it is not simply the next place.

        Raises:
            NonDeterminismError: The journal has another call there.
            Evicted: The process is letting the run go.
        """
        self.check()
        line = branch.get()
        if position is None:
            if line is None:
                raise RuntimeError("not in the code of a durable run")
            position = line.next()
        call = Call(position=position, kind=kind, name=name, after=self._latest, digest=digest)
        call.recorded = self._recorded.get(position)
        self._called.add(position)
        if call.recorded is not None and not _fits(call.recorded, call):
            self._refuse(
                NonDeterminismError(position, recorded=_shown(call.recorded), found=_shown(call))
            )
        return call

    async def given(self, call: Call) -> Entry:
        """What the journal has of a call, when it is its turn."""
        recorded = call.recorded
        if recorded is None:
            raise LookupError(call.position)
        if recorded not in self._order:  # the order has gone past it
            self.check()
            self._latest, call.seq = max(self._latest, recorded.seq), recorded.seq
            return recorded
        return await self._turn(call, recorded, self._waiting.__setitem__)

    async def settle(self, call: Call, entry: Entry) -> Entry:
        """Record the end of a call, and return when it is its turn to be known."""
        self.check()
        return await self._turn(call, entry, lambda _, made: self._completed.append(made))

    async def pass_on(self, call: Call) -> None:
        """Go on to do what is not recorded; in a sealed journal nothing ever comes of it."""
        self.beyond.append(call)
        if self._is_sealed:
            await self._loop.create_future()

    def note(self, call: Call, packet: packets.Packet) -> Entry:
        """Record at once what needs no waiting; or what was recorded of it."""
        recorded = call.recorded
        if recorded is None:
            self.beyond.append(call)
            entry = self._number(call.entry(packet))
        else:
            entry = recorded
            self._consume(recorded)
            self._loop.call_soon_threadsafe(self._pump)
        call.seq = entry.seq
        return entry

    def remark(self, call: Call, nth: int, kind: str, packet: packets.Packet | None = None) -> Any:
        """What the journal keeps beside a call that has not ended; None where it has nothing.

        The code is not given it: no other call comes after it.

        Args:
            call: The call.
            nth: Which remark about it, from 1.
            kind: What it is about.
            packet: What to record if there is none.
        """
        position = call.position + "r" * nth
        recorded = self._recorded.get(position)
        self._called.add(position)
        if recorded is not None:
            if recorded in self._order:
                self._order.remove(recorded)
                self._reach_frontier()
            call.remarks.append(recorded.seq)
            return packets.decode(recorded.output, recorded.output_type)
        if packet is None:
            return None
        made = Call(position=position, kind=kind, name=call.name, after=call.after, digest=None)
        self._seq += 1
        call.remarks.append(self._seq)
        self._pending.append(replace(made.entry(packet), seq=self._seq))
        self._on_pending()
        return packets.decode(*packet)

    def patched(self, name: str) -> bool:
        """Whether the code may go the new way: not when the journal has gone past without."""
        if name not in self._patches:
            position = f"{PATCH}:{name}"
            known = position in self._recorded
            self._patches[name] = known or not self._is_past()
            if not known and self._patches[name]:
                self.note(self.call(PATCH, name, position=position), packets.encode(None))
        return self._patches[name]

    def draw(self, position: str, *, of: str) -> bytes:
        """32 bytes that are the run's own at this position, however often it is executed."""
        return hashlib.sha256(f"{self._seed}/{of}/{position}".encode()).digest()

    async def committed(self) -> None:
        """Wait until everything that the code knows is kept by the server."""
        self.check()
        if self._acknowledged >= self._seq:
            return
        barrier: asyncio.Future[None] = self._loop.create_future()
        self._barriers.append((self._seq, barrier))
        self._on_pending()
        await barrier

    def check_end(self) -> None:
        """Raise NonDeterminismError when the code has returned and the journal has more of it."""
        for entry in self._recorded.values():
            if entry.position not in self._called and entry.kind != PATCH:
                self._refuse(
                    NonDeterminismError(entry.position, recorded=_shown(entry), found=None)
                )

    def surplus(self, *, is_over: bool) -> NonDeterminismError | None:
        """How the code goes beyond a journal that should have all of it; None: it does not.

        Args:
            is_over: Whether the code has ended, and so waits for none of its calls.
        """
        for call in self.beyond:
            if call.seq or not is_over:
                return NonDeterminismError(call.position, recorded=None, found=_shown(call))
        return None

    # -- What fails an attempt ------------------------------------------------------------------

    def raised(self, error: BaseException, *seqs: int) -> None:
        """Remember which entries the code was given an exception for."""
        self._raised.append((error, seqs))

    def awaited(self, run_id: str, *seqs: int) -> None:
        """Remember which entries stand for a child run: its trigger and its end."""
        self._children[run_id] = seqs

    def rewind(self, error: BaseException) -> list[int]:
        """The entries that an attempt which ended with this exception has failed by.

        Looked for in the exception, its causes, and what it groups.
        """
        found: set[int] = set()
        for each in _chain(error):
            found.update(*(seqs for known, seqs in self._raised if known is each))
            if isinstance(each, ChildRunFailed):
                found.update(self._children.get(each.run_id or "", ()))
        return sorted(found)

    # -- What the process calls ----------------------------------------------------------------

    @property
    def broken(self) -> NonDeterminismError | None:
        """The first difference that was found, whatever the code made of it."""
        return self._end if isinstance(self._end, NonDeterminismError) else None

    @property
    def has_pending(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._pending)

    @property
    def is_waited_for(self) -> bool:
        """Whether the code goes on only when what is pending is kept."""
        return bool(self._barriers)

    def take(self) -> list[Entry]:
        """What is to be sent; the caller's from now on."""
        pending, self._pending = self._pending, []
        return pending

    def acknowledged(self, through: int) -> None:
        """The server keeps everything up to this `seq`."""
        self._acknowledged = max(self._acknowledged, through)
        waiting, self._barriers = self._barriers, []
        for wanted, barrier in waiting:
            if wanted > self._acknowledged:
                self._barriers.append((wanted, barrier))
            elif not barrier.done():
                barrier.set_result(None)

    def close(self, error: BaseException | None = None) -> None:
        """Give the code nothing more: all that it waits for, and asks from now on, raises."""
        self._end = error if self._end is None else self._end
        self._end = self._end or Evicted()
        if self._patience is not None:
            self._patience.cancel()
        futures: list[asyncio.Future[Any]] = [barrier for _, barrier in self._barriers]
        futures += [each.future for each in (*self._waiting.values(), *self._completed)]
        self._barriers, self._waiting = [], {}
        self._completed.clear()
        for future in futures:
            if not future.done():
                future.set_exception(self._ended())
                future.exception()  # nobody may be left to look at it

    # -- One at a time -------------------------------------------------------------------------

    async def _turn(
        self, call: Call, entry: Entry, line_up: Callable[[str, _Delivery], None]
    ) -> Entry:
        self.check()
        delivery = _Delivery(entry, self._loop.create_future())
        line_up(call.position, delivery)
        self._pump()
        given = await delivery.future
        call.seq = given.seq
        return given

    def check(self) -> None:
        """Raise what the journal was closed with, if it was."""
        if self._end is not None:
            raise self._ended()

    def _ended(self) -> BaseException:
        return Evicted() if isinstance(self._end, Evicted) or self._end is None else self._end

    def _refuse(self, error: NonDeterminismError) -> NoReturn:
        """Stop for good, also where the code catches everything."""
        self.close(error)
        raise error

    def _pump(self) -> None:
        """Give the code its next result, unless it is still busy with the one before."""
        if self._is_settling or self._end is not None:
            return
        delivery = self._next()
        if delivery is None:
            return
        if not delivery.future.done():
            delivery.future.set_result(delivery.entry)
        self._is_settling = True
        when_idle(self._loop, self._settled)

    def _next(self) -> _Delivery | None:
        if not self._order:
            while self._completed:
                made = self._completed.popleft()
                if not made.future.done():  # else the code has given it up, and must do so again
                    return _Delivery(self._number(made.entry), made.future)
            return None
        head = self._order[0]
        delivery = self._waiting.pop(head.position, None)
        if delivery is not None:
            self._forget_patience()
            self._consume(head)
            return delivery
        if self._patience is None:
            self._patience = self._loop.call_later(PATIENCE_SECONDS, self._go_past, head)
        return None

    def _settled(self) -> None:
        """The code has drawn all consequences of what it was given last."""
        self._is_settling = False
        self._pump()

    def _go_past(self, head: Entry) -> None:
        """The code does not call what comes next, or not soon: let it have what it does call."""
        self._patience = None
        if self._order and self._order[0] is head:
            while self._order and self._order[0].position not in self._waiting:
                self._order.popleft()
            self._reach_frontier()
        self._pump()

    def _consume(self, entry: Entry) -> None:
        """The code knows a recorded result."""
        self._latest = max(self._latest, entry.seq)
        if entry.kind == PATCH:
            return
        if self._order and self._order[0] is entry:
            self._order.popleft()
        elif entry in self._order:
            self._order.remove(entry)
        self._reach_frontier()

    def _reach_frontier(self) -> None:
        if not self._order and self._replayed_from:
            self._replayed_from = 0
            self._on_frontier()

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _number(self, entry: Entry) -> Entry:
        """Let an entry be the next of the journal."""
        self._seq += 1
        self._latest = self._seq
        numbered = replace(entry, seq=self._seq)
        self._pending.append(numbered)
        self._on_pending()
        return numbered

    def _is_past(self) -> bool:
        """Whether the journal has something further on from where the code is."""
        line = branch.get()
        return line is not None and self._furthest.get(line.path, 0) > line.count


def ignore_evictions(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for loops that durable runs execute on: nobody awaits what is let go."""
    if not isinstance(context.get("exception"), Evicted):
        loop.default_exception_handler(context)


def digest(arguments: Sequence[Any]) -> str | None:
    """A digest of arguments; None where they have no form on the wire."""
    try:
        data, kind = packets.encode(list(arguments))
    except packets.PacketError:
        return None
    return hashlib.sha256(f"{kind} {data}".encode()).hexdigest()[:_DIGEST_LENGTH]


def _fits(recorded: Entry, call: Call) -> bool:
    is_same = (recorded.kind, recorded.name) == (call.kind, call.name)
    has_digests = recorded.digest is not None and call.digest is not None
    return is_same and (not has_digests or recorded.digest == call.digest)


def _shown(side: Entry | Call) -> str:
    arguments = f" with arguments {side.digest}" if side.digest else ""
    return f"{side.kind} {side.name!r}{arguments}"


def _furthest(recorded: Iterable[str]) -> dict[str, int]:
    """How far the journal counts on each branch, branches that it only passes through included."""
    found: dict[str, int] = {}
    for position in recorded:
        if position.startswith(PATCH):
            continue
        path = ""
        for part in position.split("."):
            number = int("".join(filter(str.isdigit, part)) or 0)
            found[path] = max(found.get(path, 0), number)
            path = f"{path}.{part}" if path else part
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it comes from, and what it groups."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def when_idle(loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
    """Call this when the loop has nothing else to do, so that all consequences have been drawn."""
    loop.call_soon(_settle, loop, then, 0)


def _settle(loop: asyncio.AbstractEventLoop, then: Callable[[], None], rounds: int) -> None:
    if rounds < _MOST_ROUNDS and _is_busy(loop):
        loop.call_soon(_settle, loop, then, rounds + 1)
    else:
        then()


def _is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether callbacks are ready other than those that ask this very question."""
    ready = getattr(loop, "_ready", ())
    return any(getattr(handle, "_callback", None) is not _settle for handle in ready)
