"""The `holdfast` command: sign in, develop, deploy, trigger and look, one module per group."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command and exit with its code."""
    if any(importlib.util.find_spec(name) is None for name in ("click", "rich")):
        sys.stderr.write("error: the command line needs more: pip install 'holdfast[cli]'\n")
        raise SystemExit(2)
    from holdfast.cli.app import run  # only now is it known that click is there

    raise SystemExit(run(sys.argv[1:]))
