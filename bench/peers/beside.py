"""The figures of what others use, and how Holdfast's compare.

Each peer runs in an environment of its own below `.holdfast/peers`, on the PostgreSQL (a database
of its own) and the Redis of the bench's bed, one after the other, nothing else running. A worker
of one process with 16 places drains jobs that do nothing; 16 callers enqueue singly; latency is
measured at 30 calls a second that are made whether or not earlier ones have returned. oban-py needs
Python 3.12: name one by PYTHON312 when it is not found. Restate's server is a program from npm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench.bed import Bed
from config.supervisor_programs import ROOT

_HERE = Path(__file__).parent
_HOME = ROOT / ".holdfast" / "peers"
_UV = Path(sys.executable).parent / "uv"
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A product, and the environment that it needs."""

    name: str
    requirements: str = "requirements.txt"
    python: str = "3.11"
    program: str | None = None


PEERS = (
    Peer(name="procrastinate"),
    Peer(name="celery"),
    Peer(name="dbos"),
    Peer(
        name="oban",
        requirements="requirements-oban.txt",
        python="3.12",
    ),
    Peer(name="restate", program="@restatedev/restate-server@1.7.12"),
)


def peer_lines(ready: Bed, ours: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Each figure of each peer, with how many times better ours is; PEERS names some of them."""
    wanted = os.environ.get("PEERS", "").split()
    for peer in PEERS:
        if not wanted or peer.name in wanted:
            for line in _measured(peer, ready):
                yield line | _compared(line, ours)


def _measured(peer: Peer, ready: Bed) -> Iterator[dict[str, Any]]:
    python, program = _environment(peer), _program(peer)
    if python is None or (peer.program and program is None):
        needed = peer.program if python else f"Python {peer.python}"
        yield {"peer": peer.name, "skipped": f"there is no {needed} here"}
        return
    name = f"peer_{peer.name}"
    ready.database.execute(f'CREATE DATABASE "{name}"')
    variables = ready.supervisor.environment
    parts = urlsplit(variables["DATABASE_URL"])
    done = subprocess.run(
        [python, f"{peer.name}_peer.py"],
        cwd=_HERE,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PEER_DATABASE": urlunsplit(parts._replace(path=f"/{name}")),
            "PEER_REDIS": variables["REDIS_URL"].replace("unix://", "redis+socket://"),
            "PEER_PROGRAM": str(program),
        },
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield json.loads(line) | {"peer": peer.name}
    if done.returncode:
        yield {"peer": peer.name, "failed": done.stderr.strip().splitlines()[-1:]}


def _environment(peer: Peer) -> Path | None:
    """The interpreter of a peer's environment, made when it is asked for first."""
    folder = _HOME / peer.requirements.removesuffix(".txt")
    python = folder / "bin" / "python"
    if not python.exists():
        command = [
            str(_UV),
            "venv",
            "-q",
            "--no-python-downloads",
            "--python",
            _interpreter(peer.python),
            str(folder),
        ]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode:
            return None
    requirements = _HERE / peer.requirements
    subprocess.run(
        [str(_UV), "pip", "sync", "-q", "--python", str(python), str(requirements)], check=True
    )
    return python


def _interpreter(version: str) -> str:
    """A Python of this version: the one that is named, or pyenv's; else uv looks for it."""
    named = os.environ.get(f"PYTHON{version.replace('.', '')}")
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return named or (str(found[-1]) if found else version)


def _program(peer: Peer) -> Path | None:
    """The peer's program from npm, whose packages run nothing when they are installed."""
    if peer.program is None:
        return None
    folder = _HOME / peer.name
    pattern = f"node_modules/@restatedev/restate-server-*/bin/{peer.name}-server"
    if not list(folder.glob(pattern)):
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
        try:
            subprocess.run(
                [*command, "--ignore-scripts", peer.program], capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
    return next(folder.glob(pattern), None)


def _compared(line: dict[str, Any], ours: Mapping[str, float]) -> dict[str, float]:
    """How many times better Holdfast is: more of a rate, less of a delay."""
    our, theirs = ours.get(str(line.get("name"))), line.get("value")
    if not our or not theirs:
        return {}
    ratio = our / theirs if line["unit"].endswith("/s") else theirs / our
    return {"holdfast_is_times": round(ratio, 2)}
