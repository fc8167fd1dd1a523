"""Reads the history after the chaos: what was promised, and what became of it.

Each check is a list of sentences about violations; an empty one means that the promise was kept.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from apps.core import clock
from apps.core.ids import parse_public_id, public_id
from apps.runs.states import ALLOWED, FINAL, RunStatus
from apps.schedules.states import Outcome
from bench.chaos.stage import DEPOSITS, Stage
from config.supervisor_programs import ROOT

_SHOWN = 5
_INVARIANTS = ROOT / "apps" / "runs" / "sql" / "invariants.sql"
_FIRST = {RunStatus.PENDING_VERSION, RunStatus.DELAYED, RunStatus.QUEUED}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that the database and the workers tell of."""

    runs: dict[UUID, dict[str, Any]]
    events: list[tuple[UUID, str, str]]  # run, kind, status, in their order
    attempts: list[tuple[UUID, int, int, UUID]]  # run, number, generation, session
    effects: list[dict[str, Any]]
    deposits: list[tuple[str, int]]  # run, number: rows of the customer's own database
    schedules: list[dict[str, Any]]
    ticks: list[dict[str, Any]]
    broken: list[str]


def read(stage: Stage) -> History:
    """Everything, once nothing moves any more."""
    runs = _rows(
        stage, "id, task, status, output, payload, parent_id, concurrency_key, schedule_id",
        "runs_run",
    )  # fmt: skip
    broken = stage.query(_INVARIANTS.read_text(), now=clock.now())
    lines = stage.effects.read_text().splitlines() if stage.effects.exists() else []
    return History(
        runs={run["id"]: run for run in runs},
        events=stage.query("SELECT run_id, kind, status FROM runs_runevent ORDER BY position"),
        attempts=stage.query(
            "SELECT run_id, number, generation, session_id FROM runs_attempt ORDER BY id"
        ),
        effects=[json.loads(line) for line in lines],
        deposits=stage.deposits(),
        schedules=_rows(stage, "id, task, interval_seconds, anchor_at", "schedules_schedule"),
        ticks=_rows(stage, "schedule_id, at, until, outcome, run_id", "schedules_tick"),
        broken=[f"{rule}: {count}" for rule, count in broken if count],
    )


def _rows(stage: Stage, columns: str, table: str) -> list[dict[str, Any]]:
    names = columns.split(", ")
    found = stage.query(f"SELECT {columns} FROM {table} ORDER BY 1, 2")  # noqa: S608
    return [dict(zip(names, row, strict=True)) for row in found]


def violations(history: History, accepted: Mapping[str, int], peaks: Mapping[str, int],
               limits: Mapping[str, int]) -> dict[str, list[str]]:  # fmt: skip
    """Every promise, with the sentences about how it was broken."""
    checks: dict[str, Callable[[], list[str]]] = {
        "all that was accepted has ended": lambda: _ended(history, accepted),
        "a request made at most one run": lambda: _unique(history),
        "each run ended once": lambda: _once(history),
        "runs moved only as they may": lambda: _moves(history),
        "one session per generation": lambda: _fenced(history),
        "attempts are numbered one by one": lambda: _numbered(history),
        "results are their runs' own": lambda: _results(history),
        "what completed was carried out": lambda: _carried_out(history),
        "each transaction step has its effect exactly once": lambda: _deposited(history),
        "each tick made one run, and none is missing": lambda: _ticked(history),
        "what must not overlap has not": lambda: _lonely(history),
        "keys are served in order": lambda: _in_order(history, accepted),
        "no limit was exceeded": lambda: _limits(peaks, limits),
        "every invariant holds": lambda: history.broken,
    }
    return {name: check() for name, check in checks.items()}


def _ended(history: History, accepted: Mapping[str, int]) -> list[str]:
    wanted = {parse_public_id("run", name) for name in accepted} | history.runs.keys()
    return [
        f"{public_id('run', run_id)} is {history.runs.get(run_id, {}).get('status', 'lost')}"
        for run_id in wanted
        if history.runs.get(run_id, {}).get("status") not in FINAL
    ]


def _unique(history: History) -> list[str]:
    numbers = Counter(
        _asked(run)["number"]
        for run in history.runs.values()
        if run["parent_id"] is None and run["schedule_id"] is None
    )
    return [f"request {number} made {count} runs" for number, count in numbers.items() if count > 1]


def _asked(run: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(run["payload"])["json"]  # packets are superjson
    return asked


def _once(history: History) -> list[str]:
    ends = Counter(run for run, _, status in history.events if status in FINAL)
    return [f"{public_id('run', run)} ended {n} times" for run, n in ends.items() if n > 1]


def _moves(history: History) -> list[str]:
    seen: dict[UUID, RunStatus] = {}
    found = []
    for run, kind, status in history.events:
        before, after = seen.get(run), RunStatus(status)
        allowed = _FIRST if before is None else {before, *ALLOWED[before]}
        if after not in allowed:
            found.append(f"{public_id('run', run)}: {before} -> {after} by {kind}")
        seen[run] = after
    return found


def _fenced(history: History) -> list[str]:
    holders: dict[tuple[UUID, int], set[UUID]] = defaultdict(set)
    for run, _, generation, session in history.attempts:
        holders[run, generation].add(session)
    return [
        f"{public_id('run', run)} generation {generation} was executed by {len(sessions)} workers"
        for (run, generation), sessions in holders.items()
        if len(sessions) > 1
    ]


def _numbered(history: History) -> list[str]:
    numbers: dict[UUID, list[int]] = defaultdict(list)
    for run, number, _, _ in history.attempts:
        numbers[run].append(number)
    return [
        f"{public_id('run', run)} has attempts {found}"
        for run, found in numbers.items()
        if sorted(found) != list(range(1, len(found) + 1))
    ]


def _results(history: History) -> list[str]:
    return [
        f"{public_id('run', run['id'])} returned {run['output']}, asked {run['payload']}"
        for run in history.runs.values()
        if run["status"] == RunStatus.COMPLETED
        and run["schedule_id"] is None
        and json.loads(run["output"])["json"] != _asked(run)["number"]
    ]


def _carried_out(history: History) -> list[str]:
    ended = {effect["run"] for effect in history.effects if effect["event"] == "end"}
    return [
        f"{name} is COMPLETED and was not carried to its end"
        for run_id, run in history.runs.items()
        if run["status"] == RunStatus.COMPLETED and (name := public_id("run", run_id)) not in ended
    ]


def _deposited(history: History) -> list[str]:
    made: dict[str, Counter[int]] = defaultdict(Counter)
    for name, number in history.deposits:
        made[name][number] += 1
    wanted = dict.fromkeys(range(DEPOSITS), 1)
    return [
        f"{name} is {run['status']} and has made the deposits {dict(made[name])}"
        for run_id, run in history.runs.items()
        if run["task"] == "ledger"
        and (
            max(made[name := public_id("run", run_id)].values(), default=0) > 1
            or (run["status"] == RunStatus.COMPLETED and made[name] != wanted)
        )
    ]


def _ticked(history: History) -> list[str]:
    """Each time at most one run; of the schedule that makes up for all, exactly one."""
    told = {tick["run_id"] for tick in history.ticks if tick["run_id"]}
    scheduled = {run["id"]: run["schedule_id"] for run in history.runs.values()}
    strangers = [run_id for run_id, of in scheduled.items() if of and run_id not in told]
    found = [f"{public_id('run', run_id)} belongs to no tick" for run_id in strangers]
    found += [
        f"the tick of {tick['at']} names a run that is not there"
        for tick in history.ticks
        if tick["run_id"] and tick["run_id"] not in scheduled
    ]
    for schedule in history.schedules:
        ticks = [tick for tick in history.ticks if tick["schedule_id"] == schedule["id"]]
        if schedule["task"] == "ticking":
            found += _gaps(ticks, timedelta(seconds=schedule["interval_seconds"]))
    return found


def _gaps(ticks: list[dict[str, Any]], interval: timedelta) -> list[str]:
    if not ticks:
        return ["a schedule has never ticked"]
    found = [
        f"the time {tick['at']} was {tick['outcome']}"
        for tick in ticks
        if tick["outcome"] != Outcome.TRIGGERED
    ]
    times = [tick["at"] for tick in ticks]
    return found + [
        f"between {before} and {after} there is no tick"
        for before, after in pairwise(times)
        if after - before != interval
    ]


def _lonely(history: History) -> list[str]:
    """A schedule that leaves times out while its latest run is open never has two open."""
    mine = {run["id"] for run in history.runs.values() if run["task"] == "lonely"}
    is_open: set[UUID] = set()
    found = []
    for run, kind, status in history.events:
        if run not in mine:
            continue
        if kind == "triggered" and is_open:
            found.append(f"{public_id('run', run)} was triggered while another one was open")
        is_open.add(run)
        if status in FINAL:
            is_open.discard(run)
    return found


def _in_order(history: History, accepted: Mapping[str, int]) -> list[str]:
    """Of one key, what was accepted first starts first: one client triggered them one by one."""
    first: dict[UUID, int] = {}
    for at, (run, kind, _) in enumerate(history.events):
        if kind == "started":
            first.setdefault(run, at)
    by_key: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, number in accepted.items():
        told = history.runs.get(parse_public_id("run", name))
        if told and told["task"] == "keyed" and told["id"] in first:
            by_key[told["concurrency_key"]].append((number, first[told["id"]]))
    return [
        f"key {key}: request {later} started before {earlier}"
        for key, starts in by_key.items()
        for (earlier, at), (later, then) in zip(sorted(starts), sorted(starts)[1:], strict=False)
        if then < at
    ]


def _limits(peaks: Mapping[str, int], limits: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: {peaks[name]} of {limits[name]}" for name in limits if peaks[name] > limits[name]
    ]


def overlaps(history: History) -> int:
    """Executions of one run that overlapped in time: those of a lost lease, whose end is fenced."""
    spans: dict[tuple[str, int], list[float]] = defaultdict(list)
    for effect in history.effects:
        spans[effect["run"], effect["process"]].append(effect["at"])
    by_run: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (run, _), times in spans.items():
        by_run[run].append((min(times), max(times)))
    return sum(
        later[0] < earlier[1]
        for found in by_run.values()
        for earlier, later in zip(sorted(found), sorted(found)[1:], strict=False)
    )


def shown(found: Mapping[str, list[str]]) -> str:
    """The verdict, one line per promise."""
    lines = []
    for name, sentences in found.items():
        lines.append(f"  {'kept  ' if not sentences else 'BROKEN'}  {name}")
        lines += [f"            {sentence}" for sentence in sentences[:_SHOWN]]
        if len(sentences) > _SHOWN:
            lines.append(f"            and {len(sentences) - _SHOWN} more")
    return "\n".join(lines)
