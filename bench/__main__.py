"""`make bench`: one JSON line per figure, everything on this machine's processors.

`python -m bench SECTION…` measures some sections; without names, those that take a quarter of an
hour together. The last line says which aims were met. Exits with 1 when a figure is beyond its
floor; on a machine that does other things at the same time that says nothing.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from bench.aims import judged, table
from bench.bed import Bed, bed
from bench.durable import sleeper_figures, step_figures
from bench.figures import Figure, claims, run_figures, trigger_figures
from bench.idle import idle_figures
from bench.pages import page_figures
from bench.peers.beside import peer_lines
from bench.realtime import realtime_figures
from bench.recovery import recovery_figures
from bench.schedules import schedule_figures
from bench.tenants import tenant_figures

SECTIONS: dict[str, Callable[[Bed], Iterator[Figure]]] = {
    "triggers": trigger_figures,
    "claims": claims,
    "runs": run_figures,
    "steps": step_figures,
    "tenants": tenant_figures,
    "realtime": realtime_figures,
    "recovery": recovery_figures,
    "pages": page_figures,
    "schedules": schedule_figures,  # late: it leaves as many runs in the queue
    "idle": idle_figures,
    "sleepers": sleeper_figures,
}
_ON_REQUEST = {"sleepers", "peers"}
_OF_ITS_OWN = {"idle"}


def main(names: Sequence[str] = ()) -> int:
    """Measure these sections; returns the exit status."""
    wanted = list(names) or [name for name in SECTIONS if name not in _ON_REQUEST]
    if unknown := set(wanted) - SECTIONS.keys() - {"peers"}:
        print(f"there is no section {sorted(unknown)}; there are {[*SECTIONS, 'peers']}")
        return 2
    _tell({"name": "machine", "processors": os.cpu_count(), "python": platform.python_version()})
    measured: dict[str, float] = {}
    missed = 0
    with ExitStack() as stack:
        # what has a bed of its own comes after the common one is gone
        if set(wanted) - _OF_ITS_OWN:
            ready = stack.enter_context(bed())
            for name in [each for each in SECTIONS if each in wanted and each not in _OF_ITS_OWN]:
                missed += _section(name, ready, measured)
            if "peers" in wanted:
                _peers(ready, measured)
    for name in _OF_ITS_OWN & set(wanted):
        missed += _section(name, None, measured)
    _summarize(measured)
    return 1 if missed else 0


def _section(name: str, ready: Bed | None, measured: dict[str, float]) -> int:
    """Print the figures of a section; how many are beyond their floors."""
    missed = 0
    for figure in SECTIONS[name](ready):  # type: ignore[arg-type]
        measured[figure.name] = figure.value
        if figure.name.startswith("page: "):
            slowest = "slowest_page_of_1000000_runs"
            measured[slowest] = max(measured.get(slowest, 0.0), figure.value)
        _tell(figure.as_json())
        if not figure.holds:
            missed += 1
            print(f"{figure.name} is beyond its floor", file=sys.stderr)
    return missed


def _peers(ready: Bed, measured: dict[str, float]) -> None:
    for line in peer_lines(ready, dict(measured)):
        if "holdfast_is_times" in line:
            measured[f"{line['name']} / {line['peer']}"] = line["holdfast_is_times"]
        _tell(line)


def _summarize(measured: dict[str, float]) -> None:
    told = judged(measured)
    print(table(told), flush=True)
    _tell({"name": "aims", "aims": told})


def _tell(line: dict[str, object]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
