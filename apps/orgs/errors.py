"""What can go wrong among members."""

from __future__ import annotations

from apps.core.errors import Conflict, Invalid


class LastOwner(Conflict):
    """An organization needs an owner: make somebody else an owner first"""

    code = "last_owner"


class InviteUnusable(Invalid):
    """This invite is unknown, expired, revoked or already accepted: ask for a new one"""

    code = "invite_unusable"
