"""Mail that organizations send."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from apps.core import clock
from apps.orgs import queries
from apps.orgs.operations import invites


@shared_task(
    name="orgs.send_invite",
    autoretry_for=(OSError,),  # also what smtplib raises
    retry_backoff=10,
    retry_backoff_max=600,
    max_retries=5,
)
def send_invite(invite_id: str) -> None:
    """Mail one invite."""
    invites.send_invite(invite_id=UUID(invite_id), now=clock.now())


@shared_task(name="orgs.send_forgotten_invites")
def send_forgotten_invites() -> None:
    """Mail what a lost message left unsent; runs every few minutes."""
    now = clock.now()
    for invite_id in queries.unsent_invites(before=now - timedelta(minutes=2), now=now):
        send_invite.delay(str(invite_id))
