"""Members of an organization: roles, invites, leaving."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from apps.core import clock
from apps.core.ids import parse_public_id
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import By, listed
from apps.dashboard.pages import in_organization, page, person
from apps.dashboard.refusals import refusals
from apps.dashboard.requests import OrganizationPlace, PageRequest
from apps.orgs.operations import invites, members
from apps.orgs.permissions import Permission, allows, require
from apps.orgs.queries import list_members, list_pending_invites
from apps.orgs.roles import Role

_ORDERS = {
    "since": By(lambda member: member.created_at),
    "name": By(lambda member: member.user.get_full_name().lower()),
    "role": By(lambda member: Role(member.role).rank, most=True),
}


class InviteForm(forms.Form):
    """Whom to invite, and as what."""

    email = forms.EmailField(max_length=254)
    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])


@require_http_methods(["GET", "POST"])
@in_organization(Permission.MEMBERS_READ)
def member_list(request: PageRequest, place: OrganizationPlace) -> HttpResponseBase:
    """Who is in, and who is invited; a POST invites."""
    form = InviteForm(request.POST or None, initial={"role": Role.DEVELOPER})
    if request.method == "POST":
        require(place.scope.actor, Permission.MEMBERS_WRITE)
    if request.method == "POST" and form.is_valid():
        with refusals(form):
            invites.invite_member(place.scope, now=clock.now(), **form.cleaned_data)
            messages.success(request, f"{form.cleaned_data['email']} gets an invite by mail.")
            return _back(place)
    found = listed(request, list_members(place.scope), text=_text, orders=_ORDERS)
    if wanted := asked_form(request):
        return list_file(map(_exported, found.rows), "members", wanted)
    own = place.scope.actor.role
    may_invite = allows(place.scope.actor, Permission.MEMBERS_WRITE)
    context = {
        "found": found,
        "members": found.rows,
        "invites": list_pending_invites(place.scope) if may_invite else [],
        "form": form,
        "me": person(request),
        # Nobody gives or takes a role above their own.
        "roles": [role.value for role in Role if own and role.rank <= own.rank],
    }
    return page(request, "people/members.html", context, section="members")


@require_POST
@in_organization(Permission.MEMBERS_WRITE)
def role(request: PageRequest, place: OrganizationPlace, user: str) -> HttpResponse:
    """Give somebody another role."""
    user_id, wanted = parse_public_id("user", user), request.POST.get("role", "")
    changed = members.change_role(place.scope, user_id=user_id, role=wanted, now=clock.now())
    messages.success(request, f"{changed.user.get_full_name()} is {changed.role} now.")
    return _back(place)


@require_POST
@in_organization(Permission.MEMBERS_WRITE)
def removal(request: PageRequest, place: OrganizationPlace, user: str) -> HttpResponse:
    """End somebody's membership."""
    user_id = parse_public_id("user", user)
    members.remove_member(place.scope, user_id=user_id, now=clock.now())
    messages.success(request, "They are no member any more.")
    return _back(place)


@require_POST
@in_organization(Permission.MEMBERS_READ)
def leaving(request: PageRequest, place: OrganizationPlace) -> HttpResponse:
    """End one's own membership."""
    members.leave_organization(place.scope, now=clock.now())
    messages.success(request, f"You have left {place.organization_name}.")
    return redirect("/")


@require_POST
@in_organization(Permission.MEMBERS_WRITE)
def invite_renewal(request: PageRequest, place: OrganizationPlace, invite: str) -> HttpResponse:
    """Mail an invite again."""
    invite_id = parse_public_id("invite", invite)
    invites.renew_invite(place.scope, invite_id=invite_id, now=clock.now())
    messages.success(request, "The invite was sent again; the older link works no more.")
    return _back(place)


@require_POST
@in_organization(Permission.MEMBERS_WRITE)
def invite_revocation(request: PageRequest, place: OrganizationPlace, invite: str) -> HttpResponse:
    """End an invite."""
    invite_id = parse_public_id("invite", invite)
    invites.revoke_invite(place.scope, invite_id=invite_id, now=clock.now())
    messages.success(request, "The invite works no more.")
    return _back(place)


def _text(member: Any) -> str:
    return f"{member.user.get_full_name()} {member.user.email} {member.role}"


def _exported(member: Any) -> dict[str, Any]:
    return {
        "name": member.user.get_full_name(),
        "email": member.user.email,
        "role": member.role,
        "since": member.created_at.isoformat(),
    }


def _back(place: OrganizationPlace) -> HttpResponse:
    return redirect("dashboard:members", organization=place.organization_slug)
