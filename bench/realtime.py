"""How soon, and at what cost, open pages learn of runs: many streams on one busy environment."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import psutil

from apps.core.ids import created_at, public_id
from bench.bed import Bed
from bench.figures import Figure
from bench.load import Called, Target, open_loop

PAGES = 500
RATE = 100.0
_WARM_UP = 500
_COUNT = 3_000
_PATIENCE = 30.0
_AT_MOST_MS = 1_000.0
_AT_MOST_GROWTH_MIB = 32.0
_RUN = re.compile(rb'"run":"(run_\w+)"')


class _Frames:
    """What arrived, taken apart once: all pages are sent the same bytes."""

    def __init__(self) -> None:
        self.runs: dict[bytes, tuple[str, ...]] = {}

    def read(self, block: bytes) -> bytes | None:
        start = block.find(b"data: [")
        if start < 0:
            return None
        data = block[start:]
        if data not in self.runs:
            self.runs[data] = tuple(name.decode() for name in _RUN.findall(data))
        return data


class _Page(asyncio.Protocol):
    """One open stream: when which frame came."""

    def __init__(self, target: Target, frames: _Frames) -> None:
        self.arrivals: list[tuple[bytes, float]] = []
        self.opened = asyncio.get_running_loop().create_future()
        self.told = asyncio.Event()
        self._target = target
        self._frames = frames
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(
            f"GET /realtime/v1/events HTTP/1.1\r\nhost: {urlsplit(self._target.url).netloc}\r\n"
            f"authorization: Bearer {self._target.secret_key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.time()
        *blocks, self._buffer = (self._buffer + data).split(b"\n\n")
        for block in blocks:
            if not self.opened.done() and b": beat" in block:
                self.opened.set_result(None)
            if frame := self._frames.read(block):
                self.arrivals.append((frame, now))
                self.told.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("the stream was not opened"))

    def runs(self) -> set[str]:
        """Every run that this page was told of."""
        return {run for frame, _ in self.arrivals for run in self._frames.runs[frame]}

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def realtime_figures(bed: Bed) -> Iterator[Figure]:
    """From the moment that the server takes a run to the moment that a page is told, over all."""
    web = psutil.Process(bed.supervisor.pids["web"])
    delays, growth = asyncio.run(_watched(bed.target("noop"), web))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Figure(
            name=f"realtime_{PAGES}_pages_delay_{name}",
            value=round(delays[int(len(delays) * share)] * 1000, 1),
            unit="ms",
            rounds=[round(delays[0] * 1000, 1), round(delays[-1] * 1000, 1)],
            at_most=_AT_MOST_MS,
        )
    yield Figure(
        name=f"realtime_{PAGES}_pages_memory_growth", value=round(growth, 1), unit="MiB",
        rounds=[], at_most=_AT_MOST_GROWTH_MIB,
    )  # fmt: skip


async def _watched(target: Target, web: psutil.Process) -> tuple[list[float], float]:
    frames = _Frames()
    loop = asyncio.get_running_loop()
    pages = [
        (await loop.create_connection(lambda: _Page(target, frames), *target.address))[1]
        for _ in range(PAGES)
    ]
    await asyncio.gather(*(page.opened for page in pages))
    # what grows once, such as buffers, has grown before memory is measured
    await open_loop(target, rate=RATE, count=_WARM_UP)
    before = web.memory_info().rss
    called = await open_loop(target, rate=RATE, count=_COUNT)
    await _all_told(pages, called)
    growth = (web.memory_info().rss - before) / 1024**2
    for page in pages:
        page.close()
    return sorted(_delays(pages, frames, called)), growth


async def _all_told(pages: Sequence[_Page], called: Sequence[Called]) -> None:
    """Wait until every page was told of every run; raises TimeoutError."""
    wanted = {public_id("run", each.run_id) for each in called}
    async with asyncio.timeout(_PATIENCE):
        for page in pages:
            while not wanted <= page.runs():
                page.told.clear()
                await page.told.wait()


def _delays(pages: Sequence[_Page], frames: _Frames, called: Sequence[Called]) -> Iterator[float]:
    # an id begins with the moment at which the server made it, before its commit
    taken = {public_id("run", each.run_id): created_at(each.run_id).timestamp() for each in called}
    for page in pages:
        told: set[str] = set()
        for frame, at in page.arrivals:
            for run in frames.runs[frame]:
                if run in taken and run not in told:
                    told.add(run)
                    yield at - taken[run]
