"""What accounts do when something happened."""

from __future__ import annotations

from apps.accounts.facts import SignInLinkCreated
from apps.accounts.jobs import send_sign_in_link


def mail_sign_in_link(fact: SignInLinkCreated) -> None:
    """Have the link mailed; `send_forgotten_links` catches what is lost on the way."""
    send_sign_in_link.delay(str(fact.link_id))
