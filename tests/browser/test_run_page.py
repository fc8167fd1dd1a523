"""Runs in a browser: the page of one and the list change by themselves, for hours, and catch up."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.core import clock
from apps.core.ids import public_id
from apps.deployments.models import Version
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.metadata import change_metadata
from tests import factories
from tests.browser.cable import cable
from tests.browser.furnished import tell
from tests.runs.engine import Worker, trigger, version
from tests.telemetry import exports

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = "/orgs/acme/projects/acme-shop/env/prod/runs"
MILLISECOND = 1_000_000


@pytest.fixture
def acme(transactional_db) -> factories.Tenant:
    tenant = factories.acme()
    version(tenant.production, "hello", "resize")
    return tenant


@pytest.fixture
def run(acme) -> Any:
    return trigger(acme.scope, now=clock.now(), payload='{"size": {"w": 3}}', tags=("blue",))


def opened(visitor, path: str) -> Page:
    """A page whose stream is open."""
    page: Page = visitor.goto(path)
    expect(page.locator("live-stream")).to_have_attribute("data-state", "open")
    return page


@pytest.fixture
def page(visitor, acme, run) -> Page:
    visitor.sign_in(factories.alice())
    return opened(visitor, f"{PAGES}/{public_id('run', run)}")


def note(acme, run, **metadata: Any) -> None:
    change_metadata(acme.scope, run_id=run, metadata=metadata, now=clock.now())


def canceled(page: Page) -> Any:
    return page.locator("header [data-status=CANCELED]").first


def test_what_happens_shows_by_itself_and_what_is_open_stays(visitor, page, acme, run):
    note(acme, run, step="one")
    metadata = page.get_by_label("Metadata", exact=True)
    expect(metadata).to_contain_text('"one"')
    fold = page.locator("json-view").first.locator(".json-fold").nth(1)
    page.locator("json-view").first.locator("button", has_text="size").click()
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.get_by_label("Search spans").fill("res")
    note(acme, run, step="two")
    expect(metadata).to_contain_text('"two"')
    trigger(acme.scope, "resize", now=clock.now(), parent_run_id=run)
    tree = page.get_by_role("tree", name="Spans")
    expect(tree.get_by_text("resize")).to_be_visible()
    expect(page.get_by_role("link", name="resize")).to_be_visible()
    expect(page.get_by_label("Search spans")).to_be_focused()
    expect(page.get_by_label("Search spans")).to_have_value("res")
    assert visitor.accessibility() == []
    expect(fold).to_have_attribute("aria-expanded", "false")


def test_a_run_is_canceled_after_a_question(page, acme, run):
    page.get_by_role("button", name="Cancel the run").first.click()
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(canceled(page)).to_be_visible()


def test_a_run_is_replayed_with_another_payload(page, acme, run):
    page.get_by_role("button", name="Replay").first.click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("Payload")
    field.fill('{"size": ')
    expect(dialog.get_by_text("Not JSON")).to_be_visible()
    field.fill('{"size": {"w": 77}}')
    dialog.get_by_role("button", name="Replay").click()
    page.wait_for_url(lambda url: "/runs/run_" in url and public_id("run", run) not in url)
    expect(page.locator("json-view").first).to_contain_text("77")
    expect(page.get_by_role("link", name="Replay")).to_be_visible()  # it says what it repeats


def test_the_list_changes_by_itself_and_keeps_its_selection(visitor, acme, run):
    visitor.sign_in(factories.alice())
    page = opened(visitor, PAGES)
    box = page.get_by_label(f"Select {public_id('run', run)}")
    box.check()
    fresh = trigger(acme.scope, "resize", now=clock.now())
    expect(page.locator(f"#{public_id('run', fresh)}")).to_be_visible()
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    cancel_run(acme.scope, run_id=run, now=clock.now())
    row = page.locator(f"#{public_id('run', run)}")
    expect(row.locator("[data-status=CANCELED]")).to_be_visible()
    expect(box).to_be_checked()


# -- A lost connection -------------------------------------------------------------------------


def test_a_lost_connection_shows_and_misses_nothing(web, window, acme, run):
    with cable(web.url) as wire:
        one, many = window(), window()
        for visitor in (one, many):
            visitor.server = wire.url
            visitor.sign_in(factories.alice())
            visitor.expected.append("net::ERR_")
        page = opened(one, f"{PAGES}/{public_id('run', run)}")
        runs = opened(many, PAGES)

        wire.cut()
        for each in (page, runs):
            expect(each.locator("live-stream")).to_have_attribute("data-state", "lost")
            expect(each.get_by_text("Reconnecting")).to_be_visible()
        note(acme, run, step="missed")
        fresh = trigger(acme.scope, "resize", now=clock.now(), parent_run_id=run)
        cancel_run(acme.scope, run_id=fresh, now=clock.now())
        wire.mend()

        # nothing more happens: what is shown now was told from the cursor on
        expect(page.get_by_label("Metadata", exact=True)).to_contain_text('"missed"')
        expect(page.get_by_role("link", name="resize")).to_contain_text("Canceled")
        row = runs.locator(f"#{public_id('run', fresh)}")
        expect(row.locator("[data-status=CANCELED]")).to_be_visible()
        for each in (page, runs):
            expect(each.locator("live-stream")).to_have_attribute("data-state", "open")
            expect(each.get_by_text("Live", exact=True)).to_be_visible()
        note(acme, run, step="live again")
        expect(page.get_by_label("Metadata", exact=True)).to_contain_text('"live again"')


# -- Hours of it -------------------------------------------------------------------------------

REFRESHED = """async (times) => {
  const stream = document.querySelector("live-stream");
  for (let time = 0; time < times; time++) {
    const done = new Promise((resolve) => {
      document.addEventListener("htmx:finally:request", resolve, { once: true });
    });
    stream.refresh();
    await done;
  }
}"""


def sizes(tools) -> dict[str, float]:
    """What the page holds once all that is held by nothing is gone."""
    for _ in range(3):  # an element of ours lets go of others when it is itself collected
        tools.send("HeapProfiler.collectGarbage")
    found = tools.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in found}


def thousand_changes(page: Page, acme, run, begin: int) -> None:
    """As an hour brings them; and as many fetches of the page as an hour would make of those."""
    for number in range(begin, begin + 1_000):
        note(acme, run, step=number, of=["some", "words"])
        if number % 200 == 0:
            at = exports.NOON + number * MILLISECOND
            names = (f"line {number}.{index}" for index in range(20))
            tell(acme, run, *(exports.log(name, time=at) for name in names))
            tell(acme, run, exports.span("b7ad6b7169203331", "work", start=exports.NOON, end=at))
    expect(page.get_by_label("Metadata", exact=True)).to_contain_text(str(begin + 999))
    page.evaluate(REFRESHED, 40)
    expect(page.locator("[data-live][data-fetching]")).to_have_count(0)


@pytest.mark.timeout(400)
def test_hours_of_changes_leave_the_page_as_large_as_it_was(page, acme, run):
    worker = Worker(Version.objects.get())
    (work,) = worker.claim(now=clock.now())
    worker.start(work, now=clock.now())
    # the log is kept to its last thousand lines: that is reached before anything is measured
    lines = [exports.log(f"early {n}", time=exports.NOON - n * MILLISECOND) for n in range(1_100)]
    tell(acme, run, *lines)
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")
    thousand_changes(page, acme, run, 1_000)
    before = sizes(tools)
    thousand_changes(page, acme, run, 2_000)
    after = sizes(tools)
    assert after["Nodes"] <= before["Nodes"] * 1.1 + 100
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 10
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] * 1.3


# -- A large trace -----------------------------------------------------------------------------

PARENTS, CHILDREN = 50, 100


def large_trace(acme, run) -> None:
    """Spans by the thousand: some that have many below them, none so many that it begins folded."""
    spans = []
    begin = int(time.time() * 1_000) * MILLISECOND
    for parent in range(PARENTS):
        start = begin + parent * CHILDREN * MILLISECOND
        own = f"{parent + 1:016x}"
        end = start + CHILDREN * MILLISECOND
        spans.append(exports.span(own, f"part {parent}", start=start, end=end))
        spans += [
            exports.span(
                f"{(parent + 1) << 16 | child:016x}", f"item {parent}.{child}", parent=own,
                start=start + child * MILLISECOND, end=start + (child + 1) * MILLISECOND,
            )
            for child in range(CHILDREN)
        ]  # fmt: skip
    tell(acme, run, *spans)


TOTAL = PARENTS * (CHILDREN + 1) + 1  # the run itself has a row, too
LAST = f"item {PARENTS - 1}.{CHILDREN - 1}"


def test_thousands_of_spans_are_rows_only_where_one_looks(visitor, acme, run):
    large_trace(acme, run)
    visitor.sign_in(factories.alice())
    page = opened(visitor, f"{PAGES}/{public_id('run', run)}")
    tree = page.get_by_role("tree", name="Spans")
    rows = tree.get_by_role("treeitem")
    expect(page.locator("trace-tree").get_by_text(f"{TOTAL:,} spans")).to_be_visible()
    assert rows.count() < 100

    tree.focus()
    page.keyboard.press("End")
    expect(tree.get_by_text(LAST, exact=True)).to_be_visible()
    expect(page.locator("span-panel")).to_contain_text(LAST)
    assert rows.count() < 100

    # zoomed in, what is one millisecond of five seconds becomes wider
    width = "document.querySelector('.span[aria-selected=true] .bar-span').style.width"
    before = page.evaluate(f"parseFloat({width})")
    for _ in range(4):
        page.keyboard.press("+")
    page.wait_for_function(f"(before) => parseFloat({width}) > before * 10", arg=before)
    page.keyboard.press("0")
    page.wait_for_function(f"(before) => parseFloat({width}) < before * 2", arg=before)

    page.get_by_label("Search spans").fill("item 7.42")
    expect(rows.and_(page.locator(":visible"))).to_have_count(3)  # itself, its part, the run
    assert visitor.accessibility() == []


def test_a_run_and_its_log_can_be_taken_away(visitor, acme, run):
    tell(acme, run, exports.log("the only line"))
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.sign_in(factories.alice())
    page = opened(visitor, f"{PAGES}/{public_id('run', run)}")
    expect(page.get_by_role("log").get_by_text("the only line")).to_be_visible()
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("button", name="Copy as JSON").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["id"] == public_id("run", run)
    with page.expect_download() as download:
        page.locator("log-tail").get_by_role("link", name="Download the log").click()
    assert "the only line" in download.value.path().read_text()
