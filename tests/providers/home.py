"""Where tests unpack projects and make environments."""

from pathlib import Path

from apps.providers.workspace import Workspace

SDK = Path(__file__).resolve().parents[2] / "packages" / "holdfast"


def shared_home(tmp_path_factory):
    """One folder for all xdist workers of a session: an environment is made once."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base
    return root / "holdfast-home"


def shared_workspace(tmp_path_factory):
    return Workspace(shared_home(tmp_path_factory), sdk=SDK)
