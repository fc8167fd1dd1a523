"""What every page shares: who asks, from where, what they may do, and how refusals look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from apps.core import clock
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.dashboard import places
from apps.dashboard.requests import OrganizationPlace, PageRequest
from apps.environments.access import Place, place_of_user
from apps.orgs.actors import Actor
from apps.orgs.permissions import Permission, allows, require
from apps.orgs.queries import get_organization, organization_scope_by_slug

P = ParamSpec("P")
PLACE_COOKIE = "place"
_YEAR = 365 * 86_400


EnvironmentView = Callable[Concatenate[PageRequest, Place, P], HttpResponseBase]
OrganizationView = Callable[Concatenate[PageRequest, OrganizationPlace, P], HttpResponseBase]
View = Callable[..., HttpResponseBase]


def in_environment(
    permission: Permission,
) -> Callable[[EnvironmentView[P]], View]:
    """A page of an environment: the view gets the visitor's Place, and nobody else gets in."""

    def wrap(view: EnvironmentView[P]) -> View:
        @wraps(view)
        def visit(
            request: PageRequest,
            organization: str,
            project: str,
            env: str,
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            slug, branch = places.parse(env)
            place = place_of_user(
                request.user, organization, project, slug, branch, now=clock.now()
            )
            _enter(request, place, place.scope.actor)
            require(place.scope.actor, permission)
            response = view(request, place, *args, **kwargs)
            _remember(request, response, place)
            return response

        return answering_refusals(visit)

    return wrap


def in_organization(
    permission: Permission,
) -> Callable[[OrganizationView[P]], View]:
    """A page of an organization: the view gets an OrganizationPlace."""

    def wrap(view: OrganizationView[P]) -> View:
        @wraps(view)
        def visit(
            request: PageRequest, organization: str, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            scope = organization_scope_by_slug(request.user, organization)
            found = get_organization(scope)
            place = OrganizationPlace(
                scope=scope, organization_name=found.name, organization_slug=found.slug
            )
            _enter(request, place, scope.actor)
            require(scope.actor, permission)
            return view(request, place, *args, **kwargs)

        return answering_refusals(visit)

    return wrap


def for_people(view: Callable[Concatenate[PageRequest, P], HttpResponseBase]) -> View:
    """A page of no organization, for whoever is signed in, such as one's own account."""

    @wraps(view)
    def visit(request: PageRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    return answering_refusals(visit)


def person(request: PageRequest) -> Any:
    """Who is signed in; only for pages that the decorators above guard."""
    if not request.user.is_authenticated:
        raise Forbidden
    return request.user


def page(
    request: PageRequest,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    section: str = "",
    status: int = 200,
) -> HttpResponse:
    """Render a page or a fragment; `section` is the entry of the navigation that it belongs to."""
    shared = {
        "place": getattr(request, "place", None),
        "can": getattr(request, "can", {}),
        "section": section,
        "theme": _theme(request),
        "now": clock.now(),
    }
    return render(request, template, {**shared, **(context or {})}, status=status)


def refusal(request: PageRequest, error: DomainError) -> HttpResponse:
    """The page that says what went wrong."""
    fragment = getattr(request, "htmx", False)
    template = "dashboard/_refused.html" if fragment else "dashboard/refused.html"
    return page(request, template, {"error": error}, status=error.status)


def answering_refusals(view: View) -> View:
    """Turn a domain error into its page; after a form, into a message where the visitor was."""

    @wraps(view)
    def visit(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except (NotFound, Forbidden) as error:
            return refusal(request, error)
        except DomainError as error:
            back = _where_from(request) if request.method == "POST" else None
            if back is None or getattr(request, "htmx", False):
                return refusal(request, error)
            messages.error(request, error.message)
            return HttpResponseRedirect(back)

    return visit


def _enter(request: PageRequest, place: Place | OrganizationPlace, actor: Actor) -> None:
    """Keep on the request what its templates show of the place."""
    request.place = place
    request.can = {permission.name.lower(): allows(actor, permission) for permission in Permission}


def _remember(request: PageRequest, response: HttpResponseBase, place: Place) -> None:
    """So that the visitor finds themselves there next time."""
    env = places.spell(place.environment_slug, place.branch)
    spelled = f"{place.organization_slug}/{place.project_slug}/{env}"
    if request.COOKIES.get(PLACE_COOKIE) != spelled:
        response.set_cookie(PLACE_COOKIE, spelled, max_age=_YEAR, httponly=True, samesite="Lax")


def _theme(request: PageRequest) -> str:
    chosen = request.COOKIES.get("theme", "")
    return chosen if chosen in ("light", "dark") else ""


def _where_from(request: PageRequest) -> str | None:
    """The page of ours that a form was on."""
    referrer = request.headers.get("referer", "")
    is_ours = url_has_allowed_host_and_scheme(
        referrer, {request.get_host()}, require_https=request.is_secure()
    )
    return referrer if is_ours and referrer else None
