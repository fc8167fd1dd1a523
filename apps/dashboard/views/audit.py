"""The audit log: by what, by whom and by when, page by page, or as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import CursorPage
from apps.dashboard.exports import csv_file
from apps.dashboard.pages import in_organization, page
from apps.dashboard.requests import OrganizationPlace, PageRequest
from apps.environments.queries import hints_of_keys
from apps.orgs.filters import AuditFilters
from apps.orgs.permissions import Permission
from apps.orgs.queries import audit_page, list_members, names_of_people

_PAGE, _FILE = 50, 5_000
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
    wanted = request.GET.get("export", "")
    size = _FILE if wanted else _PAGE
    cursor = CursorPage(size=size, after=_id(request, "after"), before=_id(request, "before"))
    found = audit_page(place.scope, filters, cursor)
    rows = _rows(place, found.items)
    if wanted:
        return _file(rows, wanted)
    context = {
        "rows": rows,
        "asked": form.cleaned_data,
        "about": _ABOUT,
        "members": list_members(place.scope),
        "newer": public_id(_CURSOR, found.previous) if found.previous else "",
        "older": public_id(_CURSOR, found.next) if found.next else "",
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


def _id(request: PageRequest, name: str) -> UUID | None:
    text = request.GET.get(name, "")
    return parse_public_id(_CURSOR, text) if text else None


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


def _file(rows: list[dict[str, Any]], form: str) -> HttpResponse:
    plain = [
        {**row, "at": row["at"].isoformat(), "detail": json.dumps(row["detail"])} for row in rows
    ]
    if form == "csv":
        return csv_file(plain, "audit-log")
    text = json.dumps([{**row, "at": row["at"].isoformat()} for row in rows], indent=2)
    response = HttpResponse(text, content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="audit-log.json"'
    return response
