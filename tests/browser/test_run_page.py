"""Runs in a browser: the page of one and the list change by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from apps.core import clock
from apps.core.ids import public_id
from apps.runs.operations.cancel import cancel_run
from tests import factories
from tests.runs.engine import trigger, version

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60_000
PAGES = "/orgs/acme/projects/acme-shop/env/prod/runs"


@pytest.fixture
def acme(transactional_db) -> factories.Tenant:
    tenant = factories.acme()
    version(tenant.production, "hello", "resize")
    return tenant


@pytest.fixture
def run(acme) -> Any:
    return trigger(acme.scope, now=clock.now(), payload='{"size": {"w": 3}}', tags=("blue",))


@pytest.fixture
def page(visitor, acme, run):
    visitor.sign_in(factories.alice())
    page = visitor.goto(f"{PAGES}/{public_id('run', run)}")
    expect(page.locator("live-stream")).to_have_attribute("data-state", "open", timeout=PATIENCE)
    return page


def test_a_child_joins_the_trace(page, acme, run):
    trigger(acme.scope, "resize", now=clock.now(), parent_run_id=run)
    tree = page.get_by_role("tree", name="Spans")
    expect(tree.get_by_text("resize")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="resize")).to_be_visible(timeout=PATIENCE)


def test_a_run_is_canceled_after_a_question(page, acme, run):
    page.get_by_role("button", name="Cancel the run").first.click()
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("header [data-status=CANCELED]").first).to_be_visible(timeout=PATIENCE)


def test_the_list_changes_by_itself_and_keeps_its_selection(visitor, acme, run):
    visitor.sign_in(factories.alice())
    page = visitor.goto(PAGES)
    expect(page.locator("live-stream")).to_have_attribute("data-state", "open", timeout=PATIENCE)
    box = page.get_by_label(f"Select {public_id('run', run)}")
    box.check()
    fresh = trigger(acme.scope, "resize", now=clock.now())
    expect(page.locator(f"#{public_id('run', fresh)}")).to_be_visible(timeout=PATIENCE)
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    cancel_run(acme.scope, run_id=run, now=clock.now())
    row = page.locator(f"#{public_id('run', run)}")
    expect(row.locator("[data-status=CANCELED]")).to_be_visible(timeout=PATIENCE)
    expect(box).to_be_checked()
