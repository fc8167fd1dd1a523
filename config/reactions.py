"""Who listens to which fact: the one table of the whole system."""

from __future__ import annotations

from apps.core.facts import Listener
from apps.environments.reactions import forget_credentials
from apps.orgs.facts import InviteCreated, MemberRemoved
from apps.orgs.reactions import mail_invite
from apps.projects.facts import ProjectArchived

REACTIONS: dict[type, tuple[Listener, ...]] = {
    InviteCreated: (mail_invite,),
    MemberRemoved: (forget_credentials,),
    ProjectArchived: (forget_credentials,),
}
