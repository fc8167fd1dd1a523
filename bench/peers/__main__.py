"""`make bench-peers`: Holdfast's figures, then those of its peers, then how they compare.

Each peer runs in an environment of its own below `.holdfast/peers`, on the PostgreSQL (a database
of its own) and the Redis of the bench's bed, one after the other, nothing else running. A worker
of one process with 16 places drains jobs that do nothing; 16 callers enqueue singly; latency is
measured at 30 calls a second that are made whether or not earlier ones have returned. oban-py needs
Python 3.12: name one by PYTHON312 when it is not found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench.bed import Bed, bed
from bench.figures import all_figures
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


PEERS = (
    Peer(name="procrastinate"),
    Peer(name="celery"),
    Peer(name="dbos"),
    Peer(
        name="oban",
        requirements="requirements-oban.txt",
        python=os.environ.get("PYTHON312", "3.12"),
    ),
)


def main(wanted: list[str]) -> int:
    ours: dict[str, float] = {}
    with bed() as ready:
        for figure in all_figures(ready):
            ours[figure.name] = figure.value
            _print({"peer": "holdfast", **figure.as_json()})
        for peer in PEERS:
            if not wanted or peer.name in wanted:
                for line in _measured(peer, ready):
                    _print(line | _compared(line, ours))
    return 0


def _measured(peer: Peer, ready: Bed) -> Iterator[dict[str, Any]]:
    python = _environment(peer)
    if python is None:
        yield {"peer": peer.name, "skipped": f"there is no Python {peer.python} here"}
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
            peer.python,
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


def _compared(line: dict[str, Any], ours: dict[str, float]) -> dict[str, float]:
    """How many times better Holdfast is: more of a rate, less of a delay."""
    our, theirs = ours.get(str(line.get("name"))), line.get("value")
    if not our or not theirs:
        return {}
    ratio = our / theirs if line["unit"].endswith("/s") else theirs / our
    return {"holdfast_is_times": round(ratio, 2)}


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
