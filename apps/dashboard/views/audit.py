"""The audit log: by what, by whom and by when, page by page, or as a file."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.pages import in_organization, page
from apps.dashboard.requests import OrganizationPlace, PageRequest
from apps.environments.queries import hints_of_keys
from apps.orgs.filters import AuditFilters
from apps.orgs.permissions import Permission
from apps.orgs.queries import audit_page, list_members, names_of_people

_PAGE = 50
_CURSOR = "audit"
_ABOUT = (
    "organization", "member", "invite", "project", "environment", "branch", "key", "variables",
    "deployment", "queue", "run", "schedule",
)  # fmt: skip


class FilterForm(forms.Form):
    """What the address asks for; what it says wrongly is left out."""

    about = forms.ChoiceField(choices=[(word, word) for word in _ABOUT], required=False)
    by = forms.CharField(required=False)
    since = forms.DateField(required=False)
    until = forms.DateField(required=False)


@require_safe
@in_organization(Permission.AUDIT_READ)
def audit_log(request: PageRequest, place: OrganizationPlace) -> HttpResponseBase:
    """One page of the log, or with `export` all that the filters leave, up to a bound."""
    form = FilterForm(request.GET)
    form.is_valid()
    filters = _filters(form.cleaned_data)
    asked = asked_page(request, _CURSOR, size=_PAGE)
    found = audit_page(place.scope, filters, asked)
    rows = _rows(place, found.items)
    if wanted := asked_form(request):
        return list_file(map(_exported, rows), "audit-log", wanted)
    context = {
        "rows": rows,
        "asked": form.cleaned_data,
        "about": _ABOUT,
        "members": list_members(place.scope),
        "pager": pager(asked, found, _CURSOR),
        "is_filtered": any(form.cleaned_data.values()),
    }
    return page(request, "people/audit.html", context, section="audit")


def _filters(asked: dict[str, Any]) -> AuditFilters:
    return AuditFilters(
        about=asked.get("about", ""),
        actor_id=_actor(asked.get("by", "")),
        since=_midnight(asked.get("since")),
        until=_midnight(asked.get("until"), days=1),  # the day itself is part of it
    )


def _actor(text: str) -> UUID | None:
    try:
        return parse_public_id("user", text)
    except NotFound:
        return None


def _midnight(day: Any, *, days: int = 0) -> datetime | None:
    return datetime.combine(day, time(), UTC) + timedelta(days=days) if day else None


def _rows(place: OrganizationPlace, entries: Iterable[Any]) -> list[dict[str, Any]]:
    """The entries, with who did it by name: two queries however many there are."""
    entries = list(entries)
    people = names_of_people({e.actor_id for e in entries if e.actor_kind == "user"})
    keys = hints_of_keys(place.scope, {e.actor_id for e in entries if e.actor_kind == "key"})
    names = {**people, **keys}
    return [
        {
            "at": entry.at,
            "by": names.get(entry.actor_id) or _unnamed(entry),
            "kind": entry.actor_kind,
            "action": entry.action,
            "target": f"{entry.target_type} {entry.target_id}",
            "detail": entry.detail,
        }
        for entry in entries
    ]


def _unnamed(entry: Any) -> str:
    return "Holdfast" if entry.actor_kind == "system" else f"a {entry.actor_kind}".replace("_", " ")


def _exported(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": row["at"].isoformat()}
