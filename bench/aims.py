"""What was aimed at, beside what was measured: the last line of a benchmark, and a table of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A figure, or how many times a peer's it is (`than`), and the bound that it should keep."""

    figure: str
    than: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def key(self) -> str:
        return f"{self.figure} / {self.than}" if self.than else self.figure

    def is_met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    @property
    def bound(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


AIMS = (
    Aim(figure="drained_noop_runs", than="procrastinate", at_least=3),
    Aim(figure="drained_noop_runs", than="dbos", at_least=2),
    Aim(figure="drained_noop_runs", than="celery", at_least=2),
    Aim(figure="drained_noop_runs", than="oban", at_least=0.7),
    Aim(figure="idle_trigger_to_start_p50", at_most=5),
    Aim(figure="idle_trigger_to_start_p99", at_most=15),
    Aim(figure="three_step_durable_runs", than="dbos", at_least=3),
    Aim(figure="three_step_durable_runs", than="restate", at_least=1),
    Aim(figure="recorded_step_amortised", at_most=1),
    Aim(figure="batched_triggers_of_1000", than="procrastinate", at_least=1),
    Aim(figure="single_triggers_16_clients", at_least=1_500),
    Aim(figure="claim_blocked_ratio", at_most=1.5),
    Aim(figure="claim_jain_index", at_least=0.99),
    Aim(figure="tenants_jain_index", at_least=0.99),
    Aim(figure="small_tenant_p99_beside_a_big_one", at_most=2),
    Aim(figure="transactions_per_idle_tenant", at_most=0.01),
    Aim(figure="idle_processor_time", at_most=2),
    Aim(figure="memory_of_sleeping_runs_100000", at_most=200),
    Aim(figure="recovery_after_postgresql_crash", at_most=10),
    Aim(figure="realtime_500_pages_delay_p99", at_most=1_000),
    Aim(figure="slowest_page_of_1000000_runs", at_most=100),
)


class Verdict(TypedDict):
    """An aim beside what was measured; None where nothing was."""

    aim: str
    bound: str
    measured: float | None
    met: bool | None


def judged(measured: Mapping[str, float]) -> list[Verdict]:
    """Each aim with what was measured."""
    told: list[Verdict] = []
    for aim in AIMS:
        value = measured.get(aim.key)
        met = None if value is None else aim.is_met(value)
        told.append({"aim": aim.key, "bound": aim.bound, "measured": value, "met": met})
    return told


def table(told: Sequence[Verdict]) -> str:
    """The same as text."""
    words = {True: "yes", False: "NO", None: "-"}
    rows = [("aim", "bound", "measured", "met")]
    for each in told:
        shown = "-" if each["measured"] is None else f"{each['measured']:g}"
        rows.append((each["aim"], each["bound"], shown, words[each["met"]]))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
