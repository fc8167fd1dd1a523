"""Schedules from the terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import click

from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Column, moment
from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.cli.trigger import Decorated, run_options
from holdfast.cli.values import json_value
from holdfast.client.schedules import ScheduleInfo, ScheduleOptions
from holdfast.client.triggers import RunOptions


def _next(info: ScheduleInfo) -> str:
    if not info.active:
        return "(inactive)"
    return moment(info.next_run) if info.next_run else "never again"


SCHEDULE_COLUMNS: list[Column] = [
    ("SCHEDULE", lambda info: info.id),
    ("TASK", lambda info: info.task),
    ("WHEN", lambda info: info.generator.description),
    ("ZONE", lambda info: info.timezone),
    ("NEXT", _next),
    ("KEY", lambda info: info.deduplication_key),
]
SCHEDULE_FIELDS: list[Column] = [
    ("schedule", lambda info: info.id),
    ("task", lambda info: info.task),
    ("type", lambda info: info.type.lower()),
    ("when", lambda info: info.generator.description),
    ("expression", lambda info: info.generator.expression),
    ("timezone", lambda info: info.timezone),
    ("next", _next),
    ("window", lambda info: info.window),
    ("jitter", lambda info: info.jitter or None),
    ("overlap", lambda info: info.overlap),
    ("missed", lambda info: info.missed),
    ("key", lambda info: info.deduplication_key),
    ("external id", lambda info: info.external_id),
    ("latest run", lambda info: info.latest_run),
    ("payload", lambda info: None if info.payload is None else json.dumps(info.payload)),
    ("options", lambda info: json.dumps(info.options) if info.options else None),
    ("problem", lambda info: info.problem),
]
_TICK_COLUMNS: list[Column] = [
    ("TIME", lambda tick: tick.timestamp),
    ("OUTCOME", lambda tick: tick.outcome),
    ("RUN", lambda tick: tick.run),
    ("REASON", lambda tick: tick.reason),
]


def _date(_context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """A moment, in this machine's zone unless it names another."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 date", param=parameter) from None
    return found if found.tzinfo else found.astimezone(UTC)


_OPTIONS = (
    click.option("--cron", metavar="CRON", help='Such as "0 9 * * MON-FRI".'),
    click.option("--every", type=click.IntRange(1), metavar="SECONDS", help="An interval instead."),
    click.option("--at", metavar="DATE", callback=_date, help="One time instead, ISO 8601."),
    click.option("--timezone", metavar="ZONE", help="Of the cron, such as Europe/Paris; UTC."),
    click.option("--external-id", metavar="ID", help="Yours, told to the runs."),
    click.option("--window", metavar="LENGTH", help="Spread ticks: 30m, or 50% of the gap."),
    click.option("--jitter", type=click.IntRange(0), metavar="SECONDS", help="Random, on top."),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip", "queue", "cancel"]),
        help="What happens while the latest run is open; allow.",
    ),
    click.option(
        "--missed",
        type=click.Choice(["skip", "one", "all"]),
        help="Which times that passed unseen are made up for; one.",
    ),
    click.option("--missed-limit", type=click.IntRange(1, 100), metavar="N", help="For all."),
    click.option(
        "--payload",
        metavar="JSON",
        callback=json_value,
        help="What its runs find as payload in theirs: JSON, or @file, or - for stdin.",
    ),
)


def schedule_options(command: Decorated) -> Decorated:
    """Add what may be said of a schedule: when it ticks, and what its runs get."""
    command = run_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def schedules() -> None:
    """Schedules: what starts runs by itself, what comes, and what was."""


@schedules.command("list")
@click.option("--task", metavar="TASK", help="Only those of this task.")
@click.option("--external-id", metavar="ID", help="Only those with this external id.")
@click.option("--page", type=click.IntRange(1), default=1, metavar="N", help="Which page; 1.")
@pass_session
def list_(session: Session, task: str | None, external_id: str | None, page: int) -> None:
    """List schedules, newest first, 50 a page."""
    found = session.client().schedules.list(
        page=page, per_page=50, task=task, external_id=external_id
    )
    session.output.show(found.data, SCHEDULE_COLUMNS)
    if page < found.pagination.total_pages:
        session.output.note(f"{found.pagination.count} in all; --page {page + 1} shows more.")


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@pass_session
def show(session: Session, schedule_id: str) -> None:
    """Show SCHEDULE."""
    session.output.show(session.client().schedules.retrieve(schedule_id), SCHEDULE_FIELDS)


@schedules.command()
@click.argument("task")
@click.option("--key", required=True, metavar="KEY", help="Yours: the same key is one schedule.")
@schedule_options
@pass_session
def create(session: Session, /, task: str, key: str, **options: Any) -> None:
    """Make a schedule of TASK, or change the one that has the key.

    \b
    holdfast schedules create report --key daily --cron "0 9 * * MON-FRI" --timezone Europe/Paris
    holdfast schedules create report --key eu --cron @daily --payload '{"region": "eu"}' --tag eu
    """
    made = session.client().schedules.create(task, deduplication_key=key, **_said(options))
    session.output.show(made, SCHEDULE_FIELDS)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.argument("task")
@schedule_options
@pass_session
def update(session: Session, /, schedule_id: str, task: str, **options: Any) -> None:
    """Replace what SCHEDULE is; what is left out has its default.

    \b
    holdfast schedules update SCHEDULE report --cron @hourly --overlap skip
    """
    changed = session.client().schedules.update(schedule_id, task, **_said(options))
    session.output.show(changed, SCHEDULE_FIELDS)


def _said(options: dict[str, Any]) -> ScheduleOptions:
    given = {name: value for name, value in options.items() if value is not None}
    if sum(name in given for name in ("cron", "every", "at")) != 1:
        raise CliError("Say exactly one of --cron, --every and --at.", Exit.USAGE)
    of_runs = {name: given.pop(name) for name in RunOptions.__annotations__ if name in given}
    given["options"] = {name: value for name, value in of_runs.items() if value or value == 0}
    return cast(ScheduleOptions, given)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@pass_session
def activate(session: Session, schedule_id: str) -> None:
    """Let SCHEDULE tick again."""
    session.output.show(session.client().schedules.activate(schedule_id), SCHEDULE_FIELDS)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@pass_session
def deactivate(session: Session, schedule_id: str) -> None:
    """Stop SCHEDULE from ticking."""
    session.output.show(session.client().schedules.deactivate(schedule_id), SCHEDULE_FIELDS)


@schedules.command()
@click.argument("schedule_ids", metavar="SCHEDULE...", nargs=-1, required=True)
@pass_session
def delete(session: Session, schedule_ids: tuple[str, ...]) -> None:
    """Remove SCHEDULE; one that is declared in code is removed there."""
    client = session.client()
    for schedule_id in schedule_ids:
        client.schedules.delete(schedule_id)
    session.output.show([{"id": name} for name in schedule_ids], [("REMOVED", lambda s: s["id"])])


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, metavar="N", help="How many; 20."
)
@pass_session
def upcoming(session: Session, schedule_id: str | None, limit: int) -> None:
    """List the next times of all active schedules, or of SCHEDULE."""
    session.output.show(
        session.client().schedules.upcoming(schedule_id=schedule_id, limit=limit),
        [
            ("TIME", lambda time: time.timestamp),
            ("STARTS", lambda time: time.effective_at),
            ("TASK", lambda time: time.task),
            ("SCHEDULE", lambda time: time.schedule),
        ],
    )


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@pass_session
def ticks(session: Session, schedule_id: str) -> None:
    """List what became of the latest times of SCHEDULE."""
    session.output.show(session.client().schedules.ticks(schedule_id), _TICK_COLUMNS)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--from", "since", required=True, metavar="DATE", callback=_date, help="ISO 8601.")
@click.option("--to", "until", required=True, metavar="DATE", callback=_date, help="ISO 8601.")
@pass_session
def backfill(session: Session, schedule_id: str, since: datetime, until: datetime) -> None:
    """Start a run for each time of a range in the past that has none."""
    made = session.client().schedules.backfill(schedule_id, since, until)
    session.output.show(made, _TICK_COLUMNS)
