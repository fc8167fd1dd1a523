"""The tray: runs that have no place yet, for whichever task process is free next.

A run that goes from the worker to a process and back costs two wake-ups, which for a short run is
more than the run. So what has no place lies in a socket of whole messages whose reading end all
task processes share, and a process that has ended one run takes the next by itself. The kernel
gives each message to one reader: a run lies behind no other, and the worker takes it back by
reading too.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator

from holdfast.worker.frames import Frame, unpack_body
from holdfast.worker.run import Run

MOST_BYTES = 32_768
"""Orders that are larger go to a process directly."""

_BUFFER_BYTES = 1024 * 1024


class Tray:
    """The worker's side of the tray.

    Attributes:
        descriptor: The end that the task processes read; None where there is no such socket.
    """

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        self._latest = 0
        self._ends: tuple[socket.socket, socket.socket] | None = None
        with contextlib.suppress(OSError, AttributeError):  # not every system has such sockets
            self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in self._ends:
                end.setblocking(False)
            self._ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)

    @property
    def descriptor(self) -> int | None:
        return None if self._ends is None else self._ends[1].fileno()

    def __len__(self) -> int:
        """How many lie here, or were taken by a process that has not said so yet."""
        return len(self._runs)

    def __contains__(self, run: Run) -> bool:
        return any(each is run for each in self._runs.values())

    @property
    def oldest(self) -> Run | None:
        """The one that was put here first."""
        return next(iter(self._runs.values()), None)

    @property
    def slips(self) -> list[int]:
        """The numbers of all that were put here and of which nothing was heard."""
        return list(self._runs)

    def next_slip(self) -> int:
        """A number for the next order; a process names it when it has taken that."""
        self._latest += 1
        return self._latest

    def put(self, run: Run, slip: int, order: bytes) -> bool:
        """Let an order lie here, unless there is no room."""
        if self._ends is None or len(order) > MOST_BYTES:
            return False
        try:
            self._ends[0].send(order)
        except OSError:
            return False
        self._runs[slip] = run
        return True

    def take(self) -> Run | None:
        """Take back the one that has lain here longest; None when nothing lies here."""
        order = None if self._ends is None or not self._runs else read(self._ends[1])
        return None if order is None else self._runs.pop(order["slip"], None)

    def take_all(self) -> Iterator[Run]:
        """Take back what lies here; the rest was taken by processes that have not said so yet."""
        while (run := self.take()) is not None:
            yield run

    def taken(self, slip: int) -> Run | None:
        """The run of an order that a process says it has taken."""
        return self._runs.pop(slip, None)

    def lost(self, slips: Iterable[int]) -> list[Run]:
        """The runs of orders that nobody has: a process died between taking one and saying so."""
        return [run for slip in slips if (run := self._runs.pop(slip, None)) is not None]

    def close(self) -> None:
        """Close both ends here."""
        for end in self._ends or ():
            end.close()
        self._ends = None


def read(end: socket.socket) -> Frame | None:
    """Take one order from the reading end, if one lies there now."""
    try:
        body = end.recv(MOST_BYTES)
    except OSError:
        return None
    return unpack_body(body) if body else None
