"""What environments do when something happened below them."""

from __future__ import annotations

from apps.environments import credentials
from apps.orgs.facts import MemberRemoved
from apps.projects.facts import ProjectArchived


def forget_credentials(fact: MemberRemoved | ProjectArchived) -> None:
    """Stop taking remembered keys at once in this process; others do within seconds."""
    credentials.forget()
