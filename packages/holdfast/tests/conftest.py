"""Fixtures of the SDK's and the worker's own tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast.hooks import global_hooks
from holdfast.tasks import registry
from holdfast.worker import Worker, WorkerOptions
from packages.holdfast.tests.fake_coordinator import FakeCoordinator

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    """Every test defines its own tasks and hooks."""
    registry.clear()
    global_hooks.clear()
    yield
    registry.clear()
    global_hooks.clear()


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    async with FakeCoordinator() as fake:
        yield fake


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for something that nobody announces, such as the death of a process."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- there is no event to wait for
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def working(fake: FakeCoordinator, **options: Any) -> AsyncIterator[Worker]:
    """A worker for the sample project, ready to take runs."""
    defaults = {
        "root": SAMPLE,
        "api_url": fake.url,
        "secret_key": "tr_dev_secret",
        "version": "20261124.1",
        "capacity": 2,
    }
    worker = Worker(WorkerOptions(**{**defaults, **options}))
    running = asyncio.create_task(worker.run())
    try:
        await fake.ready()
        yield worker
    finally:
        worker.stop()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def worker(coordinator: FakeCoordinator) -> AsyncIterator[Worker]:
    async with working(coordinator) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_coordinator() -> AsyncIterator[FakeCoordinator]:
    """One for a module whose tests only add runs."""
    async with FakeCoordinator() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_worker(shared_coordinator: FakeCoordinator) -> AsyncIterator[Worker]:
    async with working(shared_coordinator) as running:
        yield running
