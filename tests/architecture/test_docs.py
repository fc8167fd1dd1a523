"""The documentation keeps up: what it names exists, what exists it names, and links lead on."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click
import pytest
from django.core.management import get_commands
from django.db.models import NOT_PROVIDED, Model
from prometheus_client import REGISTRY

from apps.core import metrics
from apps.providers.archives import UnpackLimits
from apps.realtime.limits import RealtimeLimits
from apps.runs.limits import Limits
from apps.runs.states import ALLOWED, FINAL, RunStatus
from apps.schedules.limits import ScheduleLimits
from apps.telemetry.limits import TelemetryLimits
from holdfast.cli.app import holdfast as cli
from holdfast.machines import MACHINES

_ROOT = Path(__file__).resolve().parent.parent.parent
_DOCS = _ROOT / "docs"
_README = _ROOT / "README.md"
_PAGES = sorted(
    path for folder in ("docs", "examples") for path in (_ROOT / folder).rglob("*.md")
) + sorted(_ROOT.glob("*.md"))

_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def _page(name: str) -> str:
    return (_DOCS / name).read_text()


def _rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables whose first cell is a name, by that name."""
    return {
        name: [cell.strip() for cell in rest.split("|")] for name, rest in _ROW.findall(_page(page))
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
    wanted |= {f"SCHEDULE_{field.name.upper()}" for field in fields(ScheduleLimits)}
    wanted |= {f"REALTIME_{field.name.upper()}" for field in fields(RealtimeLimits)}
    assert set(_rows("settings.md")) == wanted


def test_the_documented_defaults_are_those_of_the_code():
    said = {name: row[0] for name, row in _rows("settings.md").items()}
    read = (
        ("HOLDFAST", Limits()),
        ("TELEMETRY", TelemetryLimits()),
        ("REALTIME", RealtimeLimits()),
        ("SCHEDULE", ScheduleLimits()),
    )
    for prefix, limits in read:
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


# -- Runs, limits and commands -----------------------------------------------------------------

_STATUSES = re.compile(r"`([A-Z_]+)`")
_QUANTITY = re.compile(r"([\d,.]+) ?([A-Za-z]+)?")
_UNITS = {
    "bytes": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "characters": 1, "second": 1,
    "seconds": 1, "minutes": 60, "hour": 3_600, "hours": 3_600, "days": 86_400,
}  # fmt: skip


def test_the_diagram_of_a_runs_life_has_exactly_the_moves_that_are_allowed():
    chart = re.search(r"^```mermaid\n(.*?)^```", _README.read_text(), re.MULTILINE | re.DOTALL)
    assert chart
    groups, moves = _parse_chart(chart[1])
    assert {status for members in groups.values() for status in members} == set(RunStatus)
    assert set(groups["ended"]) == FINAL - {RunStatus.EXPIRED}
    assert moves == {(before, after) for before, afters in ALLOWED.items() for after in afters}


def _parse_chart(chart: str) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """The groups of a chart with their members, and its arrows between single statuses."""
    groups: dict[str, list[str]] = {"": []}
    arrows: list[tuple[str, str]] = []
    group = ""
    for line in map(str.strip, chart.splitlines()):
        if line.startswith("subgraph "):
            group = line.split()[1]
            groups[group] = []
        elif line == "end":
            group = ""
        elif "-->" in line:
            before, after = ([part.strip() for part in end.split("&")] for end in line.split("-->"))
            arrows += [(one, other) for one in before for other in after]
        elif not line.startswith("flowchart"):
            groups[group].append(line)
    moves = {
        (one, other)
        for before, after in arrows
        for one in groups.get(before, [before])
        for other in groups.get(after, [after])
    }
    return groups, moves


def test_the_table_of_statuses_has_exactly_the_moves_that_are_allowed():
    rows = _rows("concepts.md")
    said = {status: set(_STATUSES.findall(rows[status][1])) for status in rows}
    assert said == {status.value: set(afters) for status, afters in ALLOWED.items()}


def test_every_limit_of_the_engine_is_documented_with_its_value_and_whether_it_is_applied():
    code = "".join(
        path.read_text()
        for folder in ("apps", "config")
        for path in (_ROOT / folder).rglob("*.py")
        if path.name != "limits.py"
    )
    rows = {name: row for name, row in _rows("limits.md").items() if name.startswith("HOLDFAST_")}
    assert set(rows) == {f"HOLDFAST_{field.name.upper()}" for field in fields(Limits)}
    for field in fields(Limits):
        value, beyond = rows[f"HOLDFAST_{field.name.upper()}"]
        assert _quantity(value) == _in_units(field.name, field.default), field.name
        is_applied = re.search(rf"(?:limits|limits\(\)|bounds)\.{field.name}\b", code) is not None
        assert is_applied != beyond.startswith("not applied yet"), field.name


def test_every_other_limit_that_is_documented_is_that_of_the_code():
    rows = re.findall(
        r"^\| .*\| ([^|]+) \|[^|]+\| `([\w.]+)` \|$", _page("limits.md"), re.MULTILINE
    )
    assert rows
    for value, name in rows:
        assert _quantity(value) == _in_code(name), name


def test_every_limit_of_telemetry_and_pools_that_has_a_size_is_documented():
    said = set(re.findall(r"`(apps[\w.]+)`", _page("limits.md")))
    for bounds in (UnpackLimits, TelemetryLimits):
        where = f"{bounds.__module__}.{bounds.__qualname__}"
        tuning = {"batch_rows", "flush_milliseconds"}
        assert {
            f"{where}.{field.name}" for field in fields(bounds) if field.name not in tuning
        } <= said


def test_every_machine_is_documented():
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\d.]+) \| (\d+ \w+) \|$", _page("limits.md"), re.MULTILINE
    )
    said = {name: (float(cpu), _quantity(memory)) for name, cpu, memory in rows}
    assert said == {one.name: (one.cpu, one.memory_bytes) for one in MACHINES.values()}


def _quantity(text: str) -> float | None:
    if text == "none":
        return None
    found = _QUANTITY.fullmatch(text)
    assert found, f"{text!r} is not a number with a unit"
    return float(found[1].replace(",", "")) * _UNITS[found[2] or "bytes"]


def _in_units(name: str, value: Any) -> Any:
    """A value as a quantity is written: names that count days are the only ones in a large unit."""
    return value * _UNITS["days"] if "days" in name else value


def _in_code(name: str) -> Any:
    """The value of a constant, or the default of a field of a dataclass or model, by its path."""
    owner_name, _, last = name.rpartition(".")
    owner = resolve_name(owner_name)
    if is_dataclass(owner):
        found = next(field.default for field in fields(owner) if field.name == last)
        return _in_units(last, found)
    if isinstance(owner, type) and issubclass(owner, Model):
        default = getattr(owner._meta.get_field(last), "default", NOT_PROVIDED)
        return None if default is NOT_PROVIDED else default
    value = getattr(owner, last)
    return value.total_seconds() if isinstance(value, timedelta) else value


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (_ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in _PAGES:
        for command in _commands(page):
            words = command.split()
            if words[0] == "make":
                wanted = {word for word in words[1:] if "=" not in word}
                assert wanted <= targets, f"{page.name}: {command}"


def test_every_command_of_the_command_line_that_is_named_exists():
    for page in _PAGES:
        for command in _commands(page):
            words = shlex.split(command)
            if words[0] == "holdfast" and len(words) > 1:
                _follow(words[1:], f"{page.name}: {command}")


def test_every_management_command_that_is_named_exists():
    known = set(get_commands())
    for page in _PAGES:
        named = re.findall(r"manage\.py ([a-z_]+)", page.read_text())
        assert set(named) <= known, page.name


def _commands(page: Path) -> Iterator[str]:
    """What a page tells to type: the lines of its shell blocks, and code that begins so."""
    text = page.read_text()
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())
    spans = _CODE.findall(_FENCE.sub("", text))
    yield from (span.strip("`") for span in spans if re.match(r"`(make|holdfast) [a-z]", span))


def _follow(words: list[str], where: str) -> None:
    """Walk a command line through the tree of commands; what is left must be its to take."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.commands.get(words.pop(0))
        assert found is not None, where
        command = found
    if not isinstance(command, click.Group):
        _, left, _ = command.make_parser(click.Context(command)).parse_args(words)
        assert left == [], where


def test_the_index_lists_every_page_and_every_decision_has_a_number_of_its_own():
    index = _page("README.md")
    pages = [path.relative_to(_DOCS) for path in _DOCS.rglob("*.md") if path.name != "README.md"]
    assert [str(page) for page in pages if f"({page})" not in index] == []
    numbers = [path.name[:5] for path in (_DOCS / "decisions").glob("*.md")]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d{4}-", number) for number in numbers)
