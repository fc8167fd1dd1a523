"""The pages of the sidebar and their keys: one table for the links, the palette and the help.

A key works because the link of its page has it, so what the help lists is what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from apps.dashboard.requests import OrganizationPlace
from apps.environments.access import Place
from apps.orgs.permissions import Permission


@dataclass(frozen=True, slots=True)
class Entry:
    """A page: its address by name, who may see it, and the letter that leads to it after `g`.

    One that is `only_found` has no link of its own in the sidebar.
    """

    title: str
    icon: str
    page: str
    permission: Permission
    letter: str = ""
    only_found: bool = False

    @property
    def keys(self) -> str:
        """As `<hot-keys>` reads them."""
        return f"g {self.letter}" if self.letter else ""

    @property
    def caps(self) -> str:
        """As they are shown."""
        return self.keys.upper()


@dataclass(frozen=True, slots=True)
class Group:
    """Some pages under one heading."""

    title: str
    entries: list[Entry]


_WORK, _ENGINE, _ENVIRONMENT, _ORGANIZATION = "Work", "Engine", "Environment", "Organization"
# Rows of a list are walked with j and k and chosen with x: no page has these.
_TABLE: tuple[tuple[str, Entry], ...] = (
    (_WORK, Entry("Runs", "activity", "runs", Permission.RUNS_READ, "r")),
    (_WORK, Entry("Tasks", "blocks", "tasks", Permission.DEPLOYMENTS_READ, "t")),
    (_WORK, Entry("Test", "flask-conical", "test", Permission.RUNS_TRIGGER, "e")),
    (_WORK, Entry("Deployments", "rocket", "deployments", Permission.DEPLOYMENTS_READ, "d")),
    (_ENGINE, Entry("Schedules", "calendar-clock", "schedules", Permission.SCHEDULES_READ, "s")),
    (_ENGINE, Entry("Queues", "list-filter", "queues", Permission.QUEUES_READ, "q")),
    (
        _ENGINE,
        Entry(
            "Concurrency", "sliders-horizontal", "concurrency", Permission.QUEUES_READ,
            only_found=True,
        ),
    ),
    (_ENGINE, Entry("Batches", "layers", "batches", Permission.RUNS_READ, "b")),
    (_ENGINE, Entry("Waitpoint tokens", "hourglass", "tokens", Permission.RUNS_READ, "w")),
    (_ENGINE, Entry("Bulk actions", "list-tree", "bulk_actions", Permission.RUNS_READ, "a")),
    (_ENVIRONMENT, Entry("API keys", "key-round", "keys", Permission.KEYS_READ, "y")),
    (_ENVIRONMENT, Entry("Variables", "variable", "variables", Permission.VARIABLES_READ, "v")),
    (
        _ENVIRONMENT,
        Entry(
            "Settings", "sliders-horizontal", "project_settings", Permission.PROJECTS_READ, "c"
        ),
    ),
    (_ORGANIZATION, Entry("Projects", "folder", "projects", Permission.PROJECTS_READ, "p")),
    (_ORGANIZATION, Entry("Members", "users", "members", Permission.MEMBERS_READ, "m")),
    (_ORGANIZATION, Entry("Audit log", "scroll-text", "audit", Permission.AUDIT_READ, "l")),
    (
        _ORGANIZATION,
        Entry("Organization", "settings", "organization_settings", Permission.PROJECTS_READ, "o"),
    ),
)  # fmt: skip


def entries(place: Place | OrganizationPlace | None, can: Mapping[str, bool]) -> list[Entry]:
    """The pages that somebody may open from a place, also those that are only found."""
    return [entry for _, entry in _visible(place, can)]


def groups(place: Place | OrganizationPlace | None, can: Mapping[str, bool]) -> list[Group]:
    """The sidebar of a place."""
    shown = [(title, entry) for title, entry in _visible(place, can) if not entry.only_found]
    return [
        Group(title, [entry for _, entry in rows])
        for title, rows in groupby(shown, key=lambda row: row[0])
    ]


def _visible(
    place: Place | OrganizationPlace | None, can: Mapping[str, bool]
) -> Iterable[tuple[str, Entry]]:
    is_inside = isinstance(place, Place)
    return [
        (title, entry)
        for title, entry in _TABLE
        if place is not None
        and (is_inside or title == _ORGANIZATION)
        and can.get(entry.permission.name.lower())
    ]
