"""The figures: each measures one thing on the bed and says how."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bench.bed import Bed
from bench.load import Target, closed_loop, open_loop
from holdfast import packets
from holdfast.client import BatchItem

# The hot tables alone: to count the history while it is measured would be most of what is measured.
_UNFINISHED = "SELECT (SELECT count(*) FROM runs_readyrun) + (SELECT count(*) FROM runs_lease)"
_OUTPUTS = "SELECT id, output, output_type FROM runs_run WHERE id = ANY(%s)"
_OPEN = "SELECT count(*) FROM runs_run WHERE id = ANY(%s) AND finished_at IS NULL"
_RATE = 30.0
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number; `rounds` are all measurements, `value` is their median.

    `at_least` or `at_most` is the floor that the system must stand on.
    """

    name: str
    value: float
    unit: str
    rounds: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def as_json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def trigger_figures(bed: Bed) -> Iterator[Figure]:
    """Triggers without a worker: singly and in batches."""
    yield single_triggers(bed, clients=1, count=500)
    yield single_triggers(bed, clients=16, count=4000)
    yield batched_triggers(bed, items=1000, batches=9)
    cancel_backlog(bed)


def run_figures(bed: Bed) -> Iterator[Figure]:
    """Runs that do nothing, by one worker of 16 places."""
    with bed.worker(capacity=16):
        yield drained(bed, count=5000)
        yield from start_latency(bed, count=200)


def single_triggers(bed: Bed, *, clients: int, count: int) -> Figure:
    """Triggers per second over HTTP, each client one call at a time."""

    target = bed.target("noop")
    rounds = [
        count // clients * clients / asyncio.run(closed_loop(target, clients=clients, count=count))
        for _ in range(3)
    ]
    return _figure(f"single_triggers_{clients}_clients", rounds, "triggers/s")


def batched_triggers(bed: Bed, *, items: int, batches: int) -> Figure:
    """Runs per second over HTTP, in batches of `items` from one client."""
    rounds = []
    with bed.client() as api:
        for _ in range(batches):
            began = time.perf_counter()
            api.batch_trigger([BatchItem(task="noop")] * items)
            rounds.append(items / (time.perf_counter() - began))
    return _figure(f"batched_triggers_of_{items}", rounds, "triggers/s")


def cancel_backlog(bed: Bed) -> None:
    """Empty the queue by the database: nothing of it is measured any more."""
    with bed.database.transaction():
        bed.database.execute("DELETE FROM runs_readyrun")
        bed.database.execute(
            "UPDATE runs_run SET status = 'CANCELED', finished_at = now() WHERE finished_at IS NULL"
        )


def claims(bed: Bed) -> Iterator[Figure]:
    """The claim alone: behind 10,000 blocked keys with a million runs, and between nine tenants."""
    found = bed.run("-m", "bench.claims")
    floors = {"claim_blocked_ratio": {"at_most": 1.5}, "claim_jain_index": {"at_least": 0.99}}
    for name, value in found.items():
        unit = "ms" if name.endswith("_ms") else ""
        yield Figure(name=name, value=value, unit=unit, rounds=[value], **floors.get(name, {}))


def drained(bed: Bed, *, count: int) -> Figure:
    """No-op runs per second from queue to final status, by one connected worker, history kept."""
    rounds = []
    with bed.client() as api:
        for _ in range(4):
            bed.database.execute("UPDATE environments_environment SET paused_at = now()")
            for _ in range(count // 1000):
                api.batch_trigger([BatchItem(task="noop")] * 1000)
            time.sleep(0.5)
            began = time.perf_counter()
            bed.database.execute("UPDATE environments_environment SET paused_at = NULL")
            api.trigger("noop")  # rings the bell
            bed.wait_for(_UNFINISHED, 0)
            rounds.append(count / (time.perf_counter() - began))
    # the first warms up
    return _figure("drained_noop_runs", rounds[1:], "runs/s", at_least=500)


def start_latency(bed: Bed, *, count: int) -> Iterator[Figure]:
    """From the moment that an idle system is to be called to the first line of the task."""
    asyncio.run(open_loop(bed.target("began"), rate=_RATE, count=20))
    delays = asyncio.run(start_delays(bed, bed.target("began"), rate=_RATE, count=count))
    quantiles = statistics.quantiles(delays, n=100)
    for name, value, most in (("p50", quantiles[49], 15.0), ("p99", quantiles[98], 100.0)):
        yield Figure(
            name=f"idle_trigger_to_start_{name}", value=round(value, 2), unit="ms",
            rounds=[round(delays[0], 2), round(delays[-1], 2)], at_most=most,
        )  # fmt: skip


async def start_delays(bed: Bed, target: Target, *, rate: float, count: int) -> list[float]:
    """Milliseconds from the moment that each call was due to the first line of its task, sorted."""
    called = await open_loop(target, rate=rate, count=count)
    wanted = [call.run_id for call in called]
    deadline = time.monotonic() + _PATIENCE
    while bed.value(_OPEN, wanted):
        if time.monotonic() > deadline:
            raise TimeoutError("some of the runs have not ended")
        await asyncio.sleep(0.05)
    rows = bed.database.execute(_OUTPUTS, [wanted]).fetchall()
    began = {run_id: float(packets.decode(output, kind)) for run_id, output, kind in rows}
    return sorted((began[call.run_id] - call.due_at) * 1000 for call in called)


def _figure(name: str, rounds: list[float], unit: str, *, at_least: float | None = None) -> Figure:
    return Figure(
        at_least=at_least,
        name=name,
        value=round(statistics.median(rounds), 1),
        unit=unit,
        rounds=[round(each, 1) for each in rounds],
    )
