"""Mail that accounts send."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from apps.accounts import queries
from apps.accounts.operations import links
from apps.core import clock


@shared_task(
    name="accounts.send_sign_in_link",
    autoretry_for=(OSError,),  # also what smtplib raises
    retry_backoff=5,
    retry_backoff_max=60,
    max_retries=5,
)
def send_sign_in_link(link_id: str) -> None:
    """Mail one link."""
    links.send_link(link_id=UUID(link_id), now=clock.now())


@shared_task(name="accounts.send_forgotten_links")
def send_forgotten_links() -> None:
    """Mail what a lost message left unsent; runs every minute."""
    now = clock.now()
    for link_id in queries.unsent_links(before=now - timedelta(seconds=30), now=now):
        send_sign_in_link.delay(str(link_id))
