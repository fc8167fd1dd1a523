"""Lets a request through when its method takes this kind of credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.api import access
from apps.api.caller import Caller
from apps.api.errors import ScopeMissing, Unauthorized
from apps.orgs.permissions import Permission, require

if TYPE_CHECKING:  # at run time, DRF's views import this module through the settings
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """Holds each method to its declared `Access`; a view narrows it further where it must."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        handler = getattr(view, (request.method or "").lower(), None)
        if handler is None:
            return True  # answered 405
        declared = access.of(handler)
        if not declared.anybody:
            admit(request.auth, declared, view.kwargs)
        return True


def admit(caller: object, declared: access.Access, kwargs: dict[str, Any]) -> Caller:
    """The caller, if its credential is one that is taken; raises Unauthorized or ScopeMissing."""
    if not isinstance(caller, Caller):
        raise Unauthorized
    if caller.grants is not None:
        _admit_public(caller, declared.public, kwargs)
    elif caller.user is None:
        if not declared.key:
            raise Unauthorized
    elif not declared.person:
        _admit_member(caller, declared.member)
    return caller


def _admit_member(caller: Caller, permission: Permission | None) -> None:
    """A person whom no path places: the environment that their headers name is asked."""
    if permission is None or caller.environment is None:
        raise Unauthorized
    require(caller.environment.actor, permission)


def _admit_public(caller: Caller, declared: access.Public | None, kwargs: dict[str, Any]) -> None:
    if declared is None or caller.grants is None:
        raise ScopeMissing("Unauthorized: public tokens are not taken here")
    if declared.kwarg:
        caller.require(declared.action, [(kind, kwargs[declared.kwarg]) for kind in declared.kinds])
    elif not caller.grants.touches(declared.action, declared.kinds):
        caller.require(declared.action, [(kind, None) for kind in declared.kinds])
