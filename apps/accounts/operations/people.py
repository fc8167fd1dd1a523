"""What people change about themselves: their name, and where they are signed in."""

from __future__ import annotations

from datetime import datetime

from allauth.usersessions.models import UserSession
from django.db import transaction

from apps.accounts import policy
from apps.accounts.models import User
from apps.core.errors import Invalid, NotFound


@transaction.atomic
def rename_person(user: User, *, name: str) -> User:
    """Change how somebody is called; raises Invalid."""
    name = policy.label(name)
    if len(name) > policy.NAME_LENGTH:
        reason = f"longer than {policy.NAME_LENGTH} characters"
        raise Invalid(f"The name is {reason}", detail={"name": [reason]})
    user.name = name
    user.save(update_fields=["name"])
    return user


def note_session(session_key: str, *, now: datetime) -> bool:
    """Note that somebody is still there; False for a session that is not listed yet."""
    noted = UserSession.objects.filter(session_key=session_key).update(last_seen_at=now)
    return bool(noted)


@transaction.atomic
def end_session(user: User, *, session_id: int) -> None:
    """Sign somebody out where they are signed in; raises NotFound."""
    found = UserSession.objects.filter(pk=session_id, user=user).first()
    if found is None:
        raise NotFound
    found.end()


@transaction.atomic
def end_other_sessions(user: User, *, session_key: str) -> int:
    """Sign somebody out everywhere but here; return in how many places."""
    others = UserSession.objects.filter(user=user).exclude(session_key=session_key)
    ended = 0
    for session in others:
        session.end()
        ended += 1
    return ended
