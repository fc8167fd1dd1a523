"""Dependencies point down: import-linter's contracts hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent.parent
_LINTER = Path(sys.executable).with_name("lint-imports")


def test_the_import_contracts_are_kept():
    done = subprocess.run([_LINTER, "--no-cache"], cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
