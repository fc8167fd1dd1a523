"""What a stream is about: an environment as a whole, or the runs that have one of some names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.environments.grants import Resource
from apps.runs.feed import Change

_MOST_NAMES = 50
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Names of runs; a change of a run that has any of them is told. Without one, every change."""

    runs: frozenset[UUID] = frozenset()
    parents: frozenset[UUID] = frozenset()
    roots: frozenset[UUID] = frozenset()
    batches: frozenset[UUID] = frozenset()
    tags: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, query: Mapping[str, Sequence[str]]) -> Wanted:
        """From `run`, `parent`, `root`, `batch`, `tag`, `task` of a query; raises Invalid."""
        if sum(len(query.get(name, ())) for name in _NAMES) > _MOST_NAMES:
            reason = f"more than {_MOST_NAMES} names"
            raise Invalid(f"A stream cannot have {reason}", detail={"run": [reason]})
        return cls(
            runs=_ids("run", query.get("run", ())),
            parents=_ids("run", query.get("parent", ())),
            roots=_ids("run", query.get("root", ())),
            batches=_ids("batch", query.get("batch", ())),
            tags=_texts("tag", query.get("tag", ())),
            tasks=_texts("task", query.get("task", ())),
        )

    @property
    def is_everything(self) -> bool:
        return self == EVERYTHING

    def covers(self, change: Change) -> bool:
        """Whether this change is to be told."""
        return (
            self.is_everything
            or change.run_id in self.runs
            or change.parent_id in self.parents
            or change.root_id in self.roots
            or change.batch_id in self.batches
            or change.task in self.tasks
            or not self.tags.isdisjoint(change.tags)
        )

    def resources(self) -> Iterator[Resource]:
        """What a public token must grant, each by itself.

        Relatives have no scope of their own, so they take that for all runs.
        """
        if self.is_everything or self.parents or self.roots:
            yield ("runs", None)
        yield from (("runs", public_id("run", run_id)) for run_id in sorted(self.runs))
        yield from (("batch", public_id("batch", batch_id)) for batch_id in sorted(self.batches))
        yield from (("tags", tag) for tag in sorted(self.tags))
        yield from (("tasks", task) for task in sorted(self.tasks))


EVERYTHING = Wanted()
_NAMES = ("run", "parent", "root", "batch", "tag", "task")


def _ids(prefix: str, values: Sequence[str]) -> frozenset[UUID]:
    return frozenset(parse_public_id(prefix, value) for value in values)


def _texts(name: str, values: Sequence[str]) -> frozenset[str]:
    if any(not value or len(value) > _LONGEST_NAME or "\0" in value for value in values):
        raise Invalid(f"{name} is empty or too long", detail={name: ["malformed"]})
    return frozenset(values)
