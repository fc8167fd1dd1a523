"""Every page, in light and dark, wide and narrow: nothing amiss for eyes, ears and policies.

`--screenshots=FOLDER` keeps a picture of each (`make screenshots`).
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.furnished import Furnished, furnish
from tests.browser.visitor import NARROW, WIDE

# name -> address; what begins with / is no part of the environment
PAGES = {
    "runs": "runs",
    "runs-empty": "runs?task=nothing",
    "runs-oldest": "runs?sort=oldest",
    "run": "runs/{run}",
    "run-failed": "runs/{failed_run}",
    "run-waiting": "runs/{waiting_run}",
    "run-blocked": "runs/{blocked_run}",
    "run-durable": "runs/{durable_run}",
    "journal": "runs/{durable_run}/journal",
    "tasks": "tasks",
    "task": "tasks/greet",
    "test": "test",
    "test-task": "test?task=greet",
    "deployments": "deployments",
    "deployment": "deployments/{deployment}",
    "schedules": "schedules",
    "schedules-calendar": "schedules?view=calendar",
    "schedule": "schedules/{schedule}",
    "schedule-new": "schedules/new",
    "schedule-edit": "schedules/{schedule}/edit",
    "queues": "queues",
    "queues-none": "queues?name=nothing",
    "queue": "queues/{queue}",
    "queue-paused": "queues/{paused_queue}",
    "concurrency": "concurrency",
    "batches": "batches",
    "batch": "batches/{batch}",
    "tokens": "tokens",
    "token": "tokens/{token}",
    "bulk-actions": "bulk-actions",
    "bulk-action": "bulk-actions/{bulk_action}",
    "start": "start",
    "keys": "keys",
    "variables": "variables",
    "settings": "settings",
    "projects": "/orgs/acme",
    "members": "/orgs/acme/members",
    "audit": "/orgs/acme/audit",
    "organization": "/orgs/acme/settings",
    "welcome": "/welcome",
    "account": "/account",
    "account-tokens": "/account/tokens",
    "account-sessions": "/account/sessions",
    "account-security": "/account/security",
    "account-app": "/account/security/app/activate/",
    "account-keys": "/account/security/keys/",
    "account-key-new": "/account/security/keys/add/",
}
OUTSIDE = {"sign-in": "/sign-in", "password": "/sign-in/password", "invite": "/invites/{invite}"}


@pytest.fixture
def pictures(request) -> Path | None:
    folder = request.config.option.screenshots
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_amiss_on_any_page(window, theme, size, pictures, subtests):
    furnished = furnish()
    visitor = window(theme=theme, size=size)
    for name, path in OUTSIDE.items():
        with subtests.test(name):
            _look(visitor, _address(furnished, path), name, pictures, theme, size)
    visitor.sign_in(furnished.person)
    for name, path in PAGES.items():
        with subtests.test(name):
            _look(visitor, _address(furnished, path), name, pictures, theme, size)


def _address(furnished: Furnished, path: str) -> str:
    known = {field.name: getattr(furnished, field.name) for field in fields(furnished)}
    found = path.format_map(known)
    return found if found.startswith("/") else furnished.path(found)


def _settle(page: Page) -> None:
    """Wait for what a page reads after it is there."""
    if page.locator("trace-tree").count():
        expect(page.get_by_role("treeitem").first).to_be_visible()
        expect(page.locator("log-tail .nothing, log-tail .line").first).to_be_visible()
    if page.locator("live-stream").count():
        expect(page.locator("live-stream")).to_have_attribute("data-state", "open")


def _look(visitor, path, name, pictures, theme, size) -> None:
    page = visitor.goto(path)
    _settle(page)
    if pictures is not None:
        width = "wide" if size == WIDE else "narrow"
        page.screenshot(path=pictures / f"{name}-{width}-{theme}.png")
    found, visitor.complaints = visitor.unexpected(), []
    assert found == []
    assert page.locator("h1").count() == 1, "a page says once what it is"
    assert visitor.accessibility() == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (
        "it scrolls aside"
    )
