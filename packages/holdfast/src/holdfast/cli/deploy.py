"""Shipping a version, and choosing which one runs."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from holdfast import archive
from holdfast.archive import Archive
from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column, age, duration
from holdfast.cli.session import Session, here, pass_session
from holdfast.cli.tree import Command, Group
from holdfast.client import SyncHoldfastClient
from holdfast.client.results import Deployment
from holdfast.manifest import sdk_version
from holdfast.project import Project

_POLL_SECONDS = 0.25
_DOING = {
    "PENDING": "Waiting for the server…",
    "BUILDING": "Installing requirements, reading tasks…",
    "DEPLOYING": "Promoting…",
}


DEPLOYMENT_FIELDS: list[Column] = [
    ("deployed", lambda d: d.version),
    ("deployment", lambda d: d.id),
    ("tasks", lambda d: ", ".join(_task_name(task) for task in d.tasks)),
    ("current", lambda d: d.is_current or None),
]


@click.command(cls=Command)
@click.option("--skip-promotion", is_flag=True, help="Do not make it the current version.")
@click.option("--dry-run", is_flag=True, help="Pack it, show what would be sent, send nothing.")
@click.option(
    "--timeout",
    type=float,
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="Wait no longer than this.",
)
@pass_session
def deploy(session: Session, skip_promotion: bool, dry_run: bool, timeout: float) -> Exit:
    """Ship this project as a new version.

    It goes to prod, unless --env says otherwise. The folder of holdfast.toml is packed and sent.
    The server installs the requirements in an environment of its own, imports the tasks there, and
    makes the version the current one. When the import fails, its traceback is shown and nothing
    changes.

    \b
    holdfast deploy
    holdfast deploy --env staging --skip-promotion
    """
    started = time.monotonic()
    project = session.local_project
    with session.output.busy("Packing…"):
        packed = archive.build(project)
    if dry_run:
        _show_plan(session, project, packed)
        return Exit.OK
    client, target = session.client("prod"), session.target("prod")
    where = f"{target.environment} at {target.api_url}"
    session.output.note(f"Packed {_plural(len(packed.names), 'file')}, {_size(packed.size)}")
    with session.output.busy(f"Sending to {where}…") as say:
        handle = client.deployments.create(
            content_hash=packed.content_hash,
            python_version=platform.python_version(),
            sdk_version=sdk_version(),
            git=_git(project.root),
        )
        client.deployments.upload(handle, packed.content)
        client.deployments.finalize(handle.id, promote=not skip_promotion)
        session.output.note(f"Sent to {where}")
        deployment = _follow(session, client, handle.id, say=say, timeout=timeout)
    return _report(session, deployment, promoted=not skip_promotion, started=started)


@click.command(cls=Command)
@click.argument("version")
@pass_session
def promote(session: Session, version: str) -> None:
    """Make VERSION the current one.

    New runs execute it, in prod unless --env says otherwise. Going back to an older version works
    the same way.
    """
    client = session.client("prod")
    client.deployments.promote(version)
    session.output.show({"version": version}, [("current", lambda row: row["version"])])


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    metavar="N",
    help="How many.",
)
@click.pass_context
def deployments(context: click.Context, limit: int) -> None:
    """What was shipped, newest first; or show, cancel one of it.

    What was shipped to prod, unless --env says otherwise.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session), limit)


@deployments.command()
@click.argument("deployment_id", metavar="DEPLOYMENT")
@pass_session
def show(session: Session, deployment_id: str) -> None:
    """Show DEPLOYMENT, with its error when it failed."""
    session.output.show(
        session.client("prod").deployments.retrieve(deployment_id),
        [
            ("deployment", lambda d: d.id),
            ("status", lambda d: d.status),
            ("version", lambda d: d.version),
            ("current", lambda d: d.is_current or None),
            ("created", lambda d: d.created_at),
            ("deployed", lambda d: d.deployed_at),
            ("error", lambda d: d.error and d.error.message),
            ("tasks", lambda d: ", ".join(_task_name(task) for task in d.tasks)),
        ],
    )


@deployments.command()
@click.argument("deployment_id", metavar="DEPLOYMENT")
@pass_session
def cancel(session: Session, deployment_id: str) -> None:
    """Stop DEPLOYMENT before it is done; nothing changes for runs."""
    session.client("prod").deployments.cancel(deployment_id)
    session.output.show([{"id": deployment_id}], [("CANCELED", lambda row: row["id"])])


def _list(session: Session, limit: int) -> None:
    page = session.client("prod").deployments.list(size=limit).first()
    session.output.show(
        page.data[:limit],
        [
            ("VERSION", lambda d: d.version),
            ("STATUS", lambda d: d.status),
            ("CURRENT", lambda d: "*" if d.is_current else ""),
            ("CREATED", lambda d: age(d.created_at)),
            ("COMMIT", lambda d: str((d.git or {}).get("commitSha", ""))[:8]),
            ("DEPLOYMENT", lambda d: d.id),
        ],
    )


def _follow(
    session: Session, client: SyncHoldfastClient, deployment_id: str, *, say: Any, timeout: float
) -> Deployment:
    """Poll until the deployment has ended, and pass its log on as it grows."""
    deadline = time.monotonic() + timeout
    shown = ""
    while True:
        deployment = client.deployments.retrieve(deployment_id)
        say(_DOING.get(deployment.status, "…"))
        if new := _added(shown, deployment.log).rstrip("\n"):
            session.output.note(new)
        shown = deployment.log
        if deployment.is_final:
            return deployment
        if time.monotonic() > deadline:
            raise CliError(f"{deployment_id} is {deployment.status} after {timeout:g} seconds.")
        time.sleep(_POLL_SECONDS)


def _added(before: str, now: str) -> str:
    """What came to a log, of which only the end is kept when it grows long."""
    if now.startswith(before):
        return now[len(before) :]
    return now.rpartition(before[-200:])[2]


def _report(session: Session, deployment: Deployment, *, promoted: bool, started: float) -> Exit:
    if deployment.status != "DEPLOYED":
        error = deployment.error
        if session.output.is_json:
            session.output.show(deployment, DEPLOYMENT_FIELDS)
        if error and error.traceback and error.traceback.strip() not in deployment.log:
            session.output.block(error.traceback)
        reason = (error and error.message) or "the server does not say why"
        raise CliError(f"The deployment is {deployment.status}: {reason}")
    session.output.show(deployment, DEPLOYMENT_FIELDS)
    took = duration(time.monotonic() - started)
    hint = "" if promoted else f"; make it current with `holdfast promote {deployment.version}`"
    session.output.note(f"Done in {took}{hint}")
    return Exit.OK


def _show_plan(session: Session, project: Project, packed: Archive) -> None:
    plan = {
        "root": str(project.root),
        "requirements": project.requirements,
        "contentHash": packed.content_hash,
        "bytes": packed.size,
        "files": list(packed.names),
    }
    session.output.show(
        plan,
        [
            ("project", lambda p: here(project.root)),
            ("requirements", lambda p: p["requirements"] or "none"),
            ("content hash", lambda p: p["contentHash"]),
            ("size", lambda p: _size(p["bytes"])),
            ("files", lambda p: "\n".join(["", *[f"  {name}" for name in p["files"]]])),
        ],
    )


def _task_name(task: Any) -> str:
    if isinstance(task, dict):
        return str(task.get("id") or task.get("slug") or "")
    return str(task)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1024:,.0f} KiB" if count < 1024**2 else f"{count / 1024**2:,.1f} MiB"


def _git(root: Path) -> dict[str, Any] | None:
    """What is deployed in terms of git; nothing when that is not used here."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [git, *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    described = ask("log", "-1", "--format=%H%n%an%n%s")
    if not described:
        return None
    sha, author, subject = [*described.split("\n", 2), "", ""][:3]
    return {
        "commitSha": sha,
        "commitAuthorName": author,
        "commitMessage": subject,
        "commitRef": ask("rev-parse", "--abbrev-ref", "HEAD") or "",
        "dirty": bool(ask("status", "--porcelain", "--", ".")),
    }
