"""The demo: everything started, an example shipped, run, followed, and its report checked."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.stores.errors import StoreError
from config.supervisor import Event, Supervisor
from config.supervisor_programs import ROOT, Choice, build
from holdfast import SyncHoldfastClient

EXAMPLE = ROOT / "examples" / "package_audit"
PORT = 8000
_POLL_SECONDS = 0.25
_LOOKS_PER_STATUS = 12
_HASHED = "sha256="
_RUN_SECONDS = 600.0
_FINAL = {
    "COMPLETED", "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT",
}  # fmt: skip


class DemoFailed(Exception):
    """The demo did not do what it shows; the text says what was wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """The demo organization's names and secrets."""

    email: str
    path: str  # of the pages of production
    project: str
    secret_key: str
    token: str


@contextmanager
def everything(home: Path, console: Console) -> Iterator[Supervisor]:
    """All of Holdfast, on port 8000 or else a free one; stopped at the end."""

    def say(event: Event) -> None:
        console.print(f"[dim]{event.at:%H:%M:%S}  {event.name:<10} {event.text}[/dim]")

    try:
        supervisor = build(Choice(home=home, port=PORT, seeds=True), report=say)
    except StoreError as error:
        if f"Port {PORT}" not in str(error):
            raise
        supervisor = build(Choice(home=home, port=0, seeds=True), report=say)
    supervisor.start()
    try:
        supervisor.wait_ready()
        yield supervisor
    finally:
        supervisor.stop()


def seed(supervisor: Supervisor) -> Seeded:
    """The demo organization, made or found."""
    left = Choice(home=supervisor.home.path).seeded  # by the start, when it was asked to
    if left.exists():
        text = left.read_text()
        left.unlink()
    else:
        text = _run(supervisor, ROOT, "manage.py", "seed", "--json", "--token")
    found = json.loads(text)
    organization, project = found["organization"]["slug"], found["project"]["slug"]
    return Seeded(
        email=found["email"],
        path=f"/orgs/{organization}/projects/{project}/env/prod",
        project=found["project"]["ref"],
        secret_key=found["environments"]["prod"]["key"],
        token=found["token"],
    )


def sign_in_link(supervisor: Supervisor, seeded: Seeded, run_id: str) -> str:
    """A link that signs in as the demo person, once and until tomorrow, at the page of a run."""
    words = ("--next", f"{seeded.path}/runs/{run_id}", "--minutes", str(24 * 60))
    return _run(supervisor, ROOT, "manage.py", "sign_in_link", seeded.email, *words).strip()


def deploy(supervisor: Supervisor, seeded: Seeded) -> str:
    """Ship the example by the command line; returns the version's number."""
    command = (
        "-m", "holdfast.cli", "deploy", "--json", "--project", seeded.project, "--env", "prod",
    )  # fmt: skip
    output = _run(
        supervisor, EXAMPLE, *command,
        HOLDFAST_API_URL=supervisor.url, HOLDFAST_ACCESS_TOKEN=seeded.token,
    )  # fmt: skip
    return str(json.loads(output)["version"])


def _run(supervisor: Supervisor, folder: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(  # noqa: S603 -- our own programs
        [sys.executable, *command],
        cwd=folder,
        env={**supervisor.environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoFailed(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def audit(client: SyncHoldfastClient, console: Console) -> Any:
    """Trigger the audit and follow it to its end; returns the finished run."""
    handle = client.trigger("audit-environment", {"paths": [packages()], "tamper": True})
    console.print(f"triggered [bold]audit-environment[/bold] as {handle.id}")
    deadline = time.monotonic() + _RUN_SECONDS
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("waiting for a worker", total=None)
        for look in count():
            # metadata alone is cheap to ask for; the run comes with its hundred children
            is_through = _show(progress, bar, client.runs.metadata(handle.id))
            if is_through or look % _LOOKS_PER_STATUS == 0:
                run = client.runs.retrieve(handle.id)
                if run.status in _FINAL:
                    return run
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
    raise DemoFailed(f"the run has not ended within {_RUN_SECONDS:g} seconds")


def _show(progress: Progress, bar: Any, metadata: dict[str, Any]) -> bool:
    """Show how far the audit is; True when all is verified."""
    done, total = metadata.get("verified", 0), metadata.get("total")
    findings = len(metadata.get("findings", []))
    words = f"{findings} finding{'s' if findings != 1 else ''}" if total else "waiting for a worker"
    progress.update(bar, description=words, completed=done, total=total)
    return total is not None and done >= total


def show_report(run: Any, console: Console) -> None:
    """Print what the audit returned."""
    report = run.output
    table = Table(title="What is installed here", show_header=False, min_width=60)
    table.add_row("distributions", str(report["distributions"]))
    table.add_row("files verified", f"{report['files']:,}")
    table.add_row("size", _size(report["bytes"]))
    largest = ", ".join(f"{name} {_size(size)}" for name, size in report["largest"])
    table.add_row("largest", largest)
    licences = list(report["licences"].items())[:6]
    table.add_row("licences", ", ".join(f"{name} ({count})" for name, count in licences))
    for finding in report["findings"]:
        name = finding["distribution"].partition(" ")[2] or "not as published"
        table.add_row(f"[red]{name.strip('()')}[/red]", f"[red]{finding['error']}[/red]")
    console.print(table)


def check(client: SyncHoldfastClient, run: Any) -> None:
    """Hold the report against what this process finds by itself; raises DemoFailed."""
    if run.status != "COMPLETED":
        raise DemoFailed(f"the run ended as {run.status}: {run.error}")
    report, installed = run.output, recorded()
    found = {finding["distribution"]: finding["error"] for finding in report["findings"]}
    tampered = [name for name in found if name.endswith("(tampered)")]
    others = found.keys() - set(tampered)
    unfounded = [name for name in others if _is_as_published(name)]
    sound = [lines for name, (_, lines) in installed.items() if name not in others]
    children = client.runs.retrieve(run.id).related_runs.children
    expected = {
        "distributions": (report["distributions"], len(installed) + 1),
        "tampered distributions": (len(tampered), 1),
        "findings that are none": (unfounded, []),
        "files": (report["files"], sum(len(lines) for lines in sound)),
        "children shown": (len(children), min(100, len(installed) + 1)),
    }
    wrong = [
        f"{what}: {got}, expected {want}" for what, (got, want) in expected.items() if got != want
    ]
    if wrong:
        raise DemoFailed(f"the report is not right: {'; '.join(wrong)}")


def packages() -> str:
    """The folder that is audited: what this Python has installed."""
    return sysconfig.get_paths()["purelib"]


@cache
def recorded() -> dict[str, tuple[Path, list[str]]]:
    """Where each distribution is installed, and the lines of its RECORD that have a hash."""
    return {
        each.metadata["Name"]: (
            Path(str(each.locate_file(""))),
            [line for line in (each.read_text("RECORD") or "").splitlines() if _HASHED in line],
        )
        for each in distributions(path=[packages()])
        if each.files is not None
    }


def _is_as_published(name: str) -> bool:
    """Whether the files of a distribution have the hashes of its RECORD."""
    folder, lines = recorded().get(name, (Path(), []))
    for path, digest, _ in csv.reader(lines):
        found = hashlib.sha256((folder / path).read_bytes()).digest()
        if base64.urlsafe_b64encode(found).decode().rstrip("=") != digest.removeprefix(_HASHED):
            return False
    return True


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
