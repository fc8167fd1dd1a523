"""Addresses of Acme's pages, and what can be read on one."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]+>", re.DOTALL)


def at(page: str = "", env: str = "prod", project: str = "acme-shop") -> str:
    return f"/orgs/acme/projects/{project}/env/{env}/{page}"


def text(response: Any) -> str:
    """What a page says, without its markup and with single spaces."""
    found = unescape(_TAGS.sub(" ", response.getvalue().decode()))
    return re.sub(r"\s+", " ", found)


def links(response: Any) -> list[str]:
    """Every address that a page leads to."""
    return [
        unescape(found) for found in re.findall(r'href="([^"]*)"', response.getvalue().decode())
    ]
