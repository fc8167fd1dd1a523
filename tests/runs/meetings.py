"""Two operations that meet: either one a moment before the other's commit, or at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apps.runs.models import Lease, Run
from apps.runs.operations.cancel import cancel_run
from apps.runs.states import FINAL
from holdfast.protocol import Execute
from tests import factories
from tests.runs.engine import Worker, ask, get, later, trigger, unsound, version
from tests.runs.threads import one_before_other, together

_ROUNDS = 8

Call = Callable[[], Any]
Scene = tuple[Call, Call, Callable[[Any, Any], None]]


class Shop:
    """Acme's production with one version, and fresh runs of it."""

    def __init__(self) -> None:
        self.acme = factories.acme()
        self.version = version(self.acme.production, "hello", "parent")
        self.scope = self.acme.scope

    def worker(self) -> Worker:
        return Worker(self.version)

    def executing(self, task: str = "hello") -> tuple[Worker, Execute]:
        """A run that a worker of its own executes."""
        trigger(self.scope, task)
        worker = self.worker()
        (work,) = worker.claim()
        worker.start(work)
        return worker, work

    def family(self, children: int = 1) -> tuple[Worker, Execute, list[Any], list[Execute]]:
        """A parent that executes, its children's waitpoints, and the children, executing."""
        worker, parent = self.executing("parent")
        parent_id = get(parent.run).pk
        made = [
            ask(self.scope, parent_run_id=parent_id, resume_parent=True) for _ in range(children)
        ]
        works = worker.claim()
        for work in works:
            worker.start(work)
        return worker, parent, [one.waitpoint_id for one in made], works

    def cancel(self, run: Any) -> Run:
        return cancel_run(self.scope, run_id=get(run).pk, now=later(2))


def is_final(run: Any) -> bool:
    return get(run).status in FINAL


def play(scene: Callable[[Shop], Scene], found: list[Exception]) -> None:
    """One before the other, the other way round, and often at the same moment."""
    shop = Shop()

    def meet(meeting: Callable[[Call, Call], Any]) -> None:
        first, second, check = scene(shop)
        check(*meeting(first, second))
        assert unsound() == []
        Lease.objects.filter(expires_at__gt=later(0)).update(expires_at=later(10_000))

    meet(one_before_other)
    meet(lambda first, second: one_before_other(second, first)[::-1])
    for _ in range(_ROUNDS):
        meet(together)
    assert found == []
