"""Random durable programs end the same wherever they crash, and do what was kept only once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import holdfast
from holdfast import Retry, step, task, wait
from holdfast.tasks import Registry, registry
from holdfast.testing import Bench, Crash, replay

NAMES = st.integers(0, 3)
SECONDS = st.sampled_from([0, 1, 3])

leaves = st.one_of(
    st.tuples(st.just("step"), SECONDS),
    st.tuples(st.just("plain"), st.just(0)),
    st.tuples(st.just("failing"), SECONDS),
    st.tuples(st.just("wait"), st.sampled_from([0, 5, 50])),
    st.tuples(st.just("child"), NAMES),
    st.tuples(st.just("drawn"), st.just(0)),
    st.tuples(st.just("first"), st.sampled_from([0, 1])),
    st.tuples(st.just("map"), st.integers(0, 3)),
)
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("then"), st.lists(inner, max_size=3)),
        st.tuples(st.just("gather"), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
crashes = st.none() | st.builds(Crash, st.integers(1, 20), st.sampled_from(["before", "after"]))


class World:
    """What steps have really done."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    async def slow(self, name: str, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.done[name] += 1
        return name

    def plain(self, name: str) -> str:
        self.done[name] += 1
        return name

    async def failing(self, name: str, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.done[name] += 1
        raise LookupError(name)


async def execute(world: World, node: Any, place: str) -> Any:
    """One node of a program; every step has a name of its own."""
    kind, detail = node
    return await _NODES[kind](world, detail, place)


async def failing(world: World, detail: float, place: str) -> str:
    try:
        return await step(world.failing, place, detail, name=place)
    except LookupError as error:
        return f"no {error}"


async def waiting(world: World, detail: float, place: str) -> float:
    await wait.for_(seconds=detail)
    return detail


async def drawn(world: World, detail: int, place: str) -> list[bool]:
    return [holdfast.random() < 2, bool(holdfast.uuid()), bool(holdfast.now())]


async def first(world: World, detail: int, place: str) -> int:
    waits = [wait.for_(seconds=5), wait.for_(seconds=500)]
    return (await wait.any_of(*(waits[::-1] if detail else waits))).index


async def mapped(world: World, detail: int, place: str) -> list[str]:
    names = [f"{place}/{number}" for number in range(detail)]
    return await step.map(world.plain, names, concurrency=2, name=place)


async def then(world: World, detail: list[Any], place: str) -> list[Any]:
    return [await execute(world, each, f"{place}.{n}") for n, each in enumerate(detail)]


async def gathered(world: World, detail: list[Any], place: str) -> list[Any]:
    parts = [execute(world, each, f"{place}.{n}") for n, each in enumerate(detail)]
    return await asyncio.gather(*parts)


_NODES: dict[str, Any] = {
    "step": lambda world, detail, place: step(world.slow, place, detail, name=place),
    "plain": lambda world, detail, place: step(world.plain, place, name=place),
    "failing": failing,
    "wait": waiting,
    "child": lambda world, detail, place: holdfast.trigger_and_wait("child", detail),
    "drawn": drawn,
    "first": first,
    "map": mapped,
    "then": then,
    "gather": gathered,
}


def outcome(program: Any, crash: Crash | None, *, evicts: bool) -> tuple[Any, World, Registry]:
    """A run of a program, what it did, and its tasks."""
    world, tasks = World(), Registry()
    policy = Retry(attempts=5, min_delay=1, max_delay=2)

    async def run() -> Any:
        return await execute(world, program, "p")

    async def child(n: int) -> int:
        return n * 10

    before = list(registry)
    for function, settings_ in ((run, {"durable": True, "retry": policy}), (child, {})):
        tasks.add(task(**settings_)(function))
    registry.clear()
    for each in before:
        registry.add(each)
    with Bench(tasks=tasks, crash=crash, evicts=evicts) as bench:
        made = bench.run("run")
    return made, world, tasks


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, crash=crashes, evicts=st.booleans())
def test_a_program_ends_as_if_nothing_had_happened(program, crash, evicts):
    undisturbed, _, _ = outcome(program, None, evicts=False)
    made, world, tasks = outcome(program, crash, evicts=evicts)
    assert made.status == undisturbed.status == "COMPLETED", made.error
    assert made.output == undisturbed.output
    assert [e.seq for e in made.journal] == list(range(1, len(made.journal) + 1))
    assert {e.position for e in made.journal} == {e.position for e in undisturbed.journal}
    kept = made.journal
    if crash is not None:
        kept = kept[: crash.point if crash.when == "after" else crash.point - 1]
    names = [entry.name for entry in kept if entry.kind == "step"]
    done = Counter({name.partition("/")[0]: 0 for name in world.done})
    for name, count in world.done.items():
        done[name.partition("/")[0]] += count
    if crash is None:
        assert done == Counter(names)
    assert all(done[name] >= count for name, count in Counter(names).items())
    single = [name for name, count in Counter(e.name for e in made.journal).items() if count == 1]
    assert all(done[name] == 1 for name in single if name in names)
    replay(made.history(), tasks=tasks)
