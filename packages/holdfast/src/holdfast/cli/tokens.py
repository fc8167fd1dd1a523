"""Tokens that runs wait for: make, list, show and complete them."""

from __future__ import annotations

import itertools
from typing import Any

import click

from holdfast.cli.session import Session, pass_session
from holdfast.cli.tree import Group
from holdfast.cli.values import json_value
from holdfast.client.tokens import TokenFilters, TokenOptions

_STATUSES = ["WAITING", "COMPLETED", "TIMED_OUT"]


@click.group(cls=Group)
def tokens() -> None:
    """Tokens that runs wait for: create, list, show, complete."""


@tokens.command("create")
@click.option("--timeout", metavar="LENGTH", help="When it times out, such as 7d; else 10m.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; may be repeated.")
@click.option("--idempotency-key", metavar="KEY", help="The same key answers with the same token.")
@pass_session
def create(
    session: Session, timeout: str | None, tags: tuple[str, ...], idempotency_key: str | None
) -> None:
    """Make a token.

    \b
    holdfast tokens create --timeout 7d --tag order:7
    """
    options: TokenOptions = {"tags": tags}
    if timeout is not None:
        options["timeout"] = timeout
    if idempotency_key is not None:
        options["idempotency_key"] = idempotency_key
    session.output.show(
        [session.client().tokens.create(**options)],
        [("TOKEN", lambda token: token.id), ("URL", lambda token: token.url)],
    )


@tokens.command("list")
@click.option("--status", metavar="STATUS", multiple=True, type=click.Choice(_STATUSES),
              help=f"One of {', '.join(_STATUSES)}; may be repeated.")  # fmt: skip
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; may be repeated.")
@click.option("--limit", metavar="COUNT", type=click.IntRange(1), default=25, show_default=True,
              help="How many at most.")  # fmt: skip
@pass_session
def list_(session: Session, status: tuple[str, ...], tags: tuple[str, ...], limit: int) -> None:
    """List tokens, newest first."""
    filters: TokenFilters = {}
    if status:
        filters["status"] = status
    if tags:
        filters["tags"] = tags
    found = session.client().tokens.list(size=min(limit, 100), **filters)
    session.output.show(
        list(itertools.islice(found, limit)),
        [
            ("TOKEN", lambda token: token.id),
            ("STATUS", lambda token: token.status),
            ("TIMEOUT", lambda token: token.timeout_at),
            ("TAGS", lambda token: token.tags),
        ],
    )


@tokens.command("show")
@click.argument("token")
@pass_session
def show(session: Session, token: str) -> None:
    """Show TOKEN, and what it was completed with."""
    session.output.show(
        session.client().tokens.retrieve(token),
        [
            ("ID", lambda token: token.id),
            ("STATUS", lambda token: token.status),
            ("OUTPUT", lambda token: token.output),
            ("TAGS", lambda token: token.tags),
            ("CREATED", lambda token: token.created_at),
            ("TIMEOUT", lambda token: token.timeout_at),
            ("COMPLETED", lambda token: token.completed_at),
            ("URL", lambda token: token.url),
        ],
    )


@tokens.command("complete")
@click.argument("token")
@click.option("--data", metavar="JSON", callback=json_value,
              help="The value for who waits for it; @FILE reads a file, - stdin.")  # fmt: skip
@pass_session
def complete(session: Session, token: str, data: Any) -> None:
    """Complete TOKEN; one that is over stays as it is.

    \b
    holdfast tokens complete waitpoint_… --data '{"approved": true}'
    """
    session.client().tokens.complete(token, data)
    session.output.show([{"id": token}], [("COMPLETED", lambda done: done["id"])])
