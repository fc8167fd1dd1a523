"""Where tests unpack projects and make environments."""

import shutil
from pathlib import Path

from apps.providers.environments import locked
from apps.providers.workspace import Workspace

_SOURCE = Path(__file__).resolve().parents[2] / "packages" / "holdfast"


def shared_home(tmp_path_factory):
    """One folder for all xdist workers of a session: an environment is made once."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base
    return root / "holdfast-home"


def sdk_of(home):
    """The SDK as it was when the session began, so that an edit meanwhile makes no difference."""
    copy = home / "packages" / "holdfast"
    with locked(home / "packages.lock"):
        if not copy.exists():
            ignored = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(_SOURCE, copy, ignore=ignored)
    return copy


def shared_workspace(tmp_path_factory):
    home = shared_home(tmp_path_factory)
    return Workspace(home, sdk=sdk_of(home))
