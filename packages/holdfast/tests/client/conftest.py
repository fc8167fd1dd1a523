"""A stub server, and clients that do not wait long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from holdfast.client import HoldfastClient, Retry, SyncHoldfastClient
from packages.holdfast.tests.client import stub as stubs

QUICK = Retry(base_seconds=0.001)


@pytest.fixture
def stub() -> Iterator[stubs.Stub]:
    with stubs.serve() as stub:
        yield stub


@pytest.fixture
def client(stub: stubs.Stub) -> Iterator[SyncHoldfastClient]:
    with SyncHoldfastClient(
        api_url=stub.url,
        secret_key=stubs.SECRET_KEY,
        access_token=stubs.ACCESS_TOKEN,
        retry=QUICK,
    ) as client:
        yield client


@pytest_asyncio.fixture
async def async_client(stub: stubs.Stub) -> AsyncIterator[HoldfastClient]:
    async with HoldfastClient(api_url=stub.url, secret_key=stubs.SECRET_KEY, retry=QUICK) as client:
        yield client
