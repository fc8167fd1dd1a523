"""What organizations do when something happened."""

from __future__ import annotations

from apps.orgs.facts import InviteCreated
from apps.orgs.jobs import send_invite


def mail_invite(fact: InviteCreated) -> None:
    """Have the invite mailed; `send_forgotten_invites` catches what is lost on the way."""
    send_invite.delay(str(fact.invite_id))
