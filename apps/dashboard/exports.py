"""Lists as files for other programs: what the address filters and sorts, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.http import HttpResponse

from apps.core.errors import NotFound
from apps.dashboard.requests import PageRequest

MOST_EXPORTED = 5_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def asked_form(request: PageRequest) -> str:
    """The form of the file that the address asks for, `csv` or `json`; empty for the page."""
    form = request.GET.get("export", "")
    if form not in ("", "csv", "json"):
        raise NotFound("A list is exported as csv or as json")
    return form


def list_file(rows: Iterable[Mapping[str, Any]], name: str, form: str) -> HttpResponse:
    """A list as a file of this name."""
    kept = list(rows)
    return csv_file(kept, name) if form == "csv" else _json_file(kept, name)


def csv_file(rows: Sequence[Mapping[str, Any]], name: str) -> HttpResponse:
    """A short list as a CSV file of this name."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    return attached(buffer.getvalue(), "text/csv; charset=utf-8", f"{name}.csv")


def attached(content: str, content_type: str, name: str) -> HttpResponse:
    """A text as a file to keep."""
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def cell(value: Any) -> Any:
    """A value for a spreadsheet, which would take a text that begins with = for a formula."""
    text = " ".join(value) if isinstance(value, list) else value
    text = json.dumps(text) if isinstance(text, dict) else text
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text


def _json_file(rows: Sequence[Mapping[str, Any]], name: str) -> HttpResponse:
    text = json.dumps(rows, indent=2, ensure_ascii=False, default=str)
    return attached(text, "application/json", f"{name}.json")
