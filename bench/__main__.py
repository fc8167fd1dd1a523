"""`make bench`: one JSON line per figure, everything on this machine's processors.

Exits with 1 when a figure is beyond its floor; on a machine that does other things at the same time
that says nothing.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from itertools import chain

from bench.bed import bed
from bench.durable import durable_figures
from bench.figures import all_figures
from bench.pages import page_figures
from bench.realtime import realtime_figures
from bench.schedules import schedule_figures


def main() -> int:
    missed = 0
    with bed() as ready:
        machine = {"processors": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"name": "machine", **machine}), flush=True)
        figures = chain(
            all_figures(ready),
            durable_figures(ready, count=2_000),
            realtime_figures(ready),
            page_figures(ready),
            schedule_figures(ready),  # last: it leaves as many runs in the queue
        )
        for figure in figures:
            print(json.dumps(figure.as_json()), flush=True)
            if not figure.holds:
                missed += 1
                print(f"{figure.name} is beyond its floor", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
