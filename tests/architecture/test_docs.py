"""The documentation keeps up: every setting, fact and metric is in it, and its links lead on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from apps.core import metrics
from apps.runs.limits import Limits
from apps.telemetry.limits import TelemetryLimits

_ROOT = Path(__file__).resolve().parent.parent.parent
_DOCS = _ROOT / "docs"
_PAGES = sorted([*_DOCS.rglob("*.md"), *_ROOT.glob("*.md")])

_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def _rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables whose first cell is a name, by that name."""
    return {
        name: [cell.strip() for cell in rest.split("|")]
        for name, rest in _ROW.findall((_DOCS / page).read_text())
    }


def _read_settings() -> Iterator[str]:
    """Every variable that the settings read."""
    for node in ast.walk(ast.parse((_ROOT / "config" / "settings.py").read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) in {"env", "os.environ"} and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and re.fullmatch(r"[A-Z_]+", str(name.value)):
                yield str(name.value)


def test_every_setting_is_documented_and_nothing_else():
    wanted = set(_read_settings())
    wanted |= {f"HOLDFAST_{field.name.upper()}" for field in fields(Limits)}
    wanted |= {f"TELEMETRY_{field.name.upper()}" for field in fields(TelemetryLimits)}
    assert set(_rows("settings.md")) == wanted


def test_the_documented_defaults_are_those_of_the_code():
    said = {name: row[0] for name, row in _rows("settings.md").items()}
    for prefix, limits in (("HOLDFAST", Limits()), ("TELEMETRY", TelemetryLimits())):
        for field in fields(limits):
            name = f"{prefix}_{field.name.upper()}"
            assert said[name] == str(getattr(limits, field.name)), name


def test_every_fact_is_documented_in_its_own_words():
    facts = {
        node.name: [path.parent.name, ast.get_docstring(node)]
        for path in _ROOT.glob("apps/*/facts.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert _rows("facts.md") == facts


def test_every_metric_is_documented_and_nothing_else():
    ours = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric.type
        for metric in REGISTRY.collect()
        if metric.name.startswith("holdfast_")
    }
    assert metrics.claims
    rows = _rows("telemetry.md")
    said = {name: row[0] for name, row in rows.items() if name.startswith("holdfast_")}
    assert said == ours


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path):
    text = _CODE.sub("", _FENCE.sub("", page.read_text()))
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue  # the tests reach no network
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in _anchors(found), f"{link} names no heading"


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as the links to them are spelled."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
