"""A real browser on a real server.

Each module has a browser of its own: Playwright keeps an event loop running in this thread while
it lives, beside which pytest-asyncio could run nothing, so it must end with the module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import launched
from tests.browser.visitor import PATIENCE_MS, Visitor, open_window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module's tests on one worker: they share its browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"browser-{item.path.stem}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)  # its own is 5 s, which a busy machine may need
    with launched() as browser:
        # Django refuses its ORM in a thread with a running loop; here that is only Playwright's.
        before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        try:
            yield browser
        finally:
            if before is None:
                del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
            else:
                os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture
def window(web, browser) -> Iterator[Callable[..., Visitor]]:
    """Opens windows, as `open_window` does; in the end none of them may have complained."""
    opened: list[Visitor] = []

    def make(**how: object) -> Visitor:
        visitor = open_window(browser, web.url, **how)  # type: ignore[arg-type]
        opened.append(visitor)
        return visitor

    yield make
    complaints = [complaint for visitor in opened for complaint in visitor.unexpected()]
    for visitor in opened:
        visitor.context.close()
    assert complaints == []


@pytest.fixture
def visitor(window: Callable[..., Visitor]) -> Visitor:
    """One window: wide, light, nobody signed in."""
    return window()
