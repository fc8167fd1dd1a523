"""`make bench`: one JSON line per figure, everything on this machine's processors."""

from __future__ import annotations

import json
import os
import platform

from bench.bed import bed
from bench.figures import all_figures


def main() -> None:
    with bed() as ready:
        machine = {"processors": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"name": "machine", **machine}), flush=True)
        for figure in all_figures(ready):
            print(json.dumps(figure.as_json()), flush=True)


if __name__ == "__main__":
    main()
