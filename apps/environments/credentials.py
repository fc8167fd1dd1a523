"""From a credential to a Scope: what every request asks first.

A secret key or the signer of a public token costs one indexed query, and the answer is kept in
this process for `REMEMBERED`. What is replaced, revoked or archived in this process is forgotten
at once; another process learns of it after `REMEMBERED` at the latest. That bound also holds for
a member who left and a project that was archived. What is not found is never remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from apps.accounts.errors import NotAuthenticated
from apps.core.crypto import digest, unseal
from apps.core.errors import NotFound
from apps.environments.models import Environment, EnvironmentKey, EnvironmentKeyQuerySet
from apps.environments.policy import is_branch
from apps.environments.scope import Scope
from apps.environments.types import EnvironmentType
from apps.orgs.actors import Actor
from apps.orgs.models import Membership

REMEMBERED = timedelta(seconds=2)
_REMEMBERED_AT_MOST = 10_000
_NO_BRANCH = "-"  # cannot be one, as no branch starts so
_PREFIXES = tuple(kind.key_prefix for kind in EnvironmentType)

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class _Memory(Generic[Question, Answer]):
    """Answers of the latest moments; each call says what time it is."""

    def __init__(self) -> None:
        self._answers: dict[Question, tuple[datetime, Answer]] = {}

    def recall(self, question: Question, ask: Callable[[], Answer], *, now: datetime) -> Answer:
        """The remembered answer, else a new one; what `ask` raises is not remembered."""
        found = self._answers.get(question)
        # Not only "not too old": a clock that was turned back must not keep an answer alive.
        if found is not None and timedelta(0) <= now - found[0] < REMEMBERED:
            return found[1]
        answer = ask()
        if len(self._answers) >= _REMEMBERED_AT_MOST:
            self._answers.clear()
        self._answers[question] = (now, answer)
        return answer

    def clear(self) -> None:
        self._answers.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    """An environment that may have signed a public token, and the secrets it signs with."""

    organization_id: UUID
    project_id: UUID
    secrets: tuple[str, ...]


_scopes: _Memory[tuple[bytes, str | None], Scope] = _Memory()
_signers: _Memory[UUID, _Signer] = _Memory()


def resolve_key(secret: str, branch: str | None = None, *, now: datetime) -> Scope:
    """The environment a secret key opens, or its child for `branch`.

    Raises NotAuthenticated for a key that is unknown, expired or revoked, and NotFound for a
    preview branch that is not active. Other environments take a branch they do not have for
    none: clients send one whenever the machine they run on names one.
    """
    if not secret.startswith(_PREFIXES):
        raise NotAuthenticated
    if branch and not is_branch(branch):
        branch = _NO_BRANCH
    question = (digest(secret), branch or None)
    return _scopes.recall(question, lambda: _find_scope(*question, now=now), now=now)


def signing_keys(environment_id: UUID, *, now: datetime) -> list[str]:
    """The secrets that public tokens of this environment are signed with, newest first.

    Those of the parent for a branch, and with a replaced one in its grace. None when unknown.
    """
    try:
        return list(_signer(environment_id, now=now).secrets)
    except NotFound:
        return []


def public_scope(environment_id: UUID, *, scopes: tuple[str, ...], now: datetime) -> Scope:
    """The scope of a public token whose signature was verified; raises NotFound."""
    signer = _signer(environment_id, now=now)
    return Scope(
        actor=Actor(kind="public_token", id=None, scopes=scopes),
        organization_id=signer.organization_id,
        project_id=signer.project_id,
        environment_id=environment_id,
    )


def forget() -> None:
    """Ask anew about every credential, in this process."""
    _scopes.clear()
    _signers.clear()


def _find_scope(key_digest: bytes, branch: str | None, *, now: datetime) -> Scope:
    children = Environment.objects.filter(
        parent=OuterRef("environment_id"), branch=branch, archived_at=None
    )
    keys = _keys_that_open(EnvironmentKey.objects.usable(now).filter(digest=key_digest))
    if branch is not None:
        keys = keys.annotate(child_id=Subquery(children.values("id")[:1]))
    key = keys.select_related("environment").first()
    if key is None:
        raise NotAuthenticated
    environment = key.environment
    child_id: UUID | None = getattr(key, "child_id", None)
    if branch and child_id is None and environment.type == EnvironmentType.PREVIEW:
        raise NotFound(f"There is no active preview branch {branch!r}")
    return Scope(
        actor=Actor(kind="key", id=key.id),
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=child_id or environment.id,
    )


def _signer(environment_id: UUID, *, now: datetime) -> _Signer:
    return _signers.recall(environment_id, lambda: _find_signer(environment_id, now=now), now=now)


def _find_signer(environment_id: UUID, *, now: datetime) -> _Signer:
    signer = Environment.objects.filter(pk=environment_id, archived_at=None)
    key_environment = signer.values(key_environment=Coalesce("parent_id", "id"))
    usable = EnvironmentKey.objects.usable(now).filter(environment_id__in=key_environment)
    keys = list(_keys_that_open(usable).select_related("environment").order_by("-id"))
    if not keys:
        raise NotFound
    return _Signer(
        organization_id=keys[0].environment.organization_id,
        project_id=keys[0].environment.project_id,
        secrets=tuple(unseal(key.sealed, context=key.seal_context) for key in keys),
    )


def _keys_that_open(keys: EnvironmentKeyQuerySet) -> EnvironmentKeyQuerySet:
    """Keys of living environments; one for development only while its owner is a member."""
    owner = Membership.objects.filter(
        user_id=OuterRef("environment__owner_id"),
        organization_id=OuterRef("environment__organization_id"),
        user__is_active=True,
    )
    return keys.filter(
        Q(environment__owner=None) | Exists(owner),
        environment__archived_at=None,
        environment__project__archived_at=None,
    )
