"""The browser that the system has, as Playwright starts it: quiet, and with no word to the net."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

REQUIRED_VARIABLE = "HOLDFAST_TEST_BROWSER_REQUIRED"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def executable() -> str:
    """The path of Chromium; skips the test without one, unless this session requires it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        say = pytest.fail if os.environ.get(REQUIRED_VARIABLE) else pytest.skip
        say("no Chromium on PATH: run tests/browser/install")
    return str(found)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser for the length of the block."""
    path = executable()
    with sync_playwright() as playwright:
        # a sandbox of Chromium needs an account other than root
        browser = playwright.chromium.launch(
            executable_path=path, args=_QUIET, chromium_sandbox=os.geteuid() != 0
        )
        try:
            yield browser
        finally:
            browser.close()
