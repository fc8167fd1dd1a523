"""What templates say about our things: ids, statuses, durations, addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django import template
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import QueryDict
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.core.ids import public_id
from apps.dashboard import places
from apps.dashboard.navigation import Group, groups
from apps.dashboard.statuses import Look, look_of
from apps.environments.access import Place

register = template.Library()

_DECORATION = mark_safe('aria-hidden="true"')
_NOTHING = "\N{EN DASH}"
_LEAST_BAR = 1.5  # one failure among thousands is seen
_SCALES = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))
_MODULES = Path(settings.BASE_DIR) / "static" / "js"


@register.simple_tag(takes_context=True)
def to(context: template.Context, page: str, **more: object) -> str:
    """The address of a page in the place where the visitor is."""
    place = context["place"]
    if isinstance(place, Place):
        try:
            return places.address(place, page, **more)
        except NoReverseMatch:
            pass
    return reverse(f"dashboard:{page}", kwargs={"organization": place.organization_slug, **more})


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """The query of this address with changes: None or "" takes a name away, and the page too."""
    asked: QueryDict = context["request"].GET.copy()
    for name in ("after", "before", *changes):
        asked.pop(name, None)
    for name, value in changes.items():
        if isinstance(value, list | tuple):
            asked.setlist(name, [str(each) for each in value])
        elif value not in (None, ""):
            asked[name] = str(value)
    return f"?{asked.urlencode()}"


@register.simple_tag(takes_context=True)
def navigation(context: template.Context) -> list[Group]:
    """The pages of the sidebar that the visitor may open from here."""
    return groups(context.get("place"), context.get("can") or {})


@register.simple_tag(takes_context=True)
def import_map(context: template.Context) -> SafeString:
    """The names by which our modules import one another, as addresses of this build."""
    nonce = context["request"].csp_nonce
    return format_html('<script type="importmap" nonce="{}">{}</script>', nonce, _import_map())


@lru_cache(maxsize=1)
def _import_map() -> SafeString:
    names = sorted(path.stem for path in _MODULES.glob("*.js"))
    imports = {f"holdfast/{name}": staticfiles_storage.url(f"js/{name}.js") for name in names}
    imports["uplot"] = staticfiles_storage.url("build/vendor/uplot.js")
    return mark_safe(json.dumps({"imports": imports}))  # noqa: S308 -- our own file names


@register.simple_tag
def icon(name: str, classes: str = "", label: str = "") -> SafeString:
    """One of our icons: what `<c-icon>` is made of, for where there are many of them."""
    meaning = format_html('role="img" aria-label="{}"', label) if label else _DECORATION
    return format_html(
        '<svg class="icon {}" {}><use href="{}#{}"></use></svg>', classes, meaning, _sprite(), name
    )


@register.simple_tag
def sprite() -> str:
    """The address of the file with all icons."""
    return _sprite()


@lru_cache(maxsize=1)
def _sprite() -> str:
    return staticfiles_storage.url("build/icons.svg")


@register.filter
def look(status: str) -> Look:
    """How a status is shown."""
    return look_of(status)


@register.filter
def run_id(identifier: UUID) -> str:
    """A run's id as people see it."""
    return public_id("run", identifier)


@register.filter
def spelled(identifier: UUID, prefix: str) -> str:
    """Any id as people see it."""
    return public_id(prefix, identifier)


@register.filter
def short_id(identifier: str) -> str:
    """The end of an id: enough to tell it from its neighbours."""
    return f"\N{HORIZONTAL ELLIPSIS}{identifier[-8:]}"


@register.filter
def since(later: datetime | None, earlier: datetime | None) -> timedelta | None:
    """How long from `earlier` to `later`."""
    return later - earlier if later and earlier else None


@register.filter
def milliseconds(value: int | None) -> timedelta | None:
    """A number of milliseconds as a length of time."""
    return None if value is None else timedelta(milliseconds=value)


@register.filter
def duration(length: timedelta | None) -> str:
    """A length of time in at most two units: `840 ms`, `12.4 s`, `3 m 20 s`, `2 h 5 m`, `4 d`."""
    if length is None:
        return _NOTHING
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    size, unit, smaller, rest = next(scale for scale in _SCALES if whole >= scale[0])
    more = whole % size // smaller
    return f"{whole // size} {unit} {more} {rest}" if more else f"{whole // size} {unit}"


@register.filter
def compact(number: int | None) -> str:
    """A count in few characters: `950`, `1.2k`, `34k`, `2.1M`."""
    if number is None:
        return _NOTHING
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    return str(number)


@register.filter
def initials(name: str) -> str:
    """One or two letters for an avatar."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


@register.filter
def pretty(value: Any) -> str:
    """JSON as people read it; text that is no JSON stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def lookup(mapping: dict[str, Any], name: str) -> Any:
    """The value of a name that is only known when the page is made."""
    return mapping.get(name)


@register.filter
def iso(moment: datetime | None) -> str:
    """A moment as a script reads it."""
    return moment.isoformat() if moment else ""


@dataclass(frozen=True, slots=True)
class _Bar:
    x: float
    y: float
    width: float
    height: float
    tone: str


@register.inclusion_tag("dashboard/_sparkline.html")
def sparkline(
    series: list[dict[str, int]], label: str, width: int = 120, height: int = 24
) -> dict[str, Any]:
    """Stacked bars, oldest first: each entry says how many of each tone there were."""
    most = max((sum(entry.values()) for entry in series), default=0) or 1
    step = width / max(1, len(series))
    bars = [
        bar
        for index, entry in enumerate(series)
        for bar in _stack(entry, x=index * step, width=step - 1, height=height, most=most)
    ]
    return {"bars": bars, "label": label, "width": width, "height": height}


def _stack(
    entry: dict[str, int], *, x: float, width: float, height: int, most: int
) -> Iterator[_Bar]:
    floor = float(height)
    for tone, count in entry.items():
        if count:
            tall = max(_LEAST_BAR, count / most * (height - 1))
            floor -= tall
            yield _Bar(round(x, 2), round(floor, 2), round(width, 2), round(tall, 2), tone)
