"""The dashboard as a person uses it: mostly by the keyboard, with everything on its page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from apps.core.ids import public_id
from apps.deployments.models import Task
from apps.runs.models import Run
from tests import factories
from tests.dashboard.pages import at
from tests.runs.engine import trigger, version

SCHEMA = {
    "type": "object",
    "required": ["to"],
    "properties": {
        "to": {"type": "string", "description": "Who gets it."},
        "copies": {"type": "integer", "default": 1},
        "urgent": {"type": "boolean"},
        "kind": {"enum": ["letter", "card"]},
        "lines": {"type": "array", "items": {"type": "string"}},
        "from": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "sender": {"$ref": "#/$defs/Sender"},
    },
    "$defs": {"Sender": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


@pytest.fixture
def acme(web):
    tenant = factories.acme()
    made = version(tenant.production, "mail", "resize")
    Task.objects.filter(version=made, slug="mail").update(payload_schema=SCHEMA)
    return tenant


@pytest.fixture
def alice(acme, visitor):
    visitor.sign_in(factories.alice())
    return visitor


def runs(tenant, count: int, **options) -> list[str]:
    """Ids of runs, the newest first, as the list has them."""
    return [public_id("run", trigger(tenant.scope, **options)) for _ in range(count)][::-1]


def rows(page):
    return page.locator("#run-list tbody tr")


def test_rows_are_walked_and_opened_by_the_keyboard(acme, alice):
    ids = runs(acme, 3, task="resize")
    page = alice.goto(at("runs"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr[data-current]")).to_have_id(ids[1])
    page.keyboard.press("k")
    expect(page.locator("tr[data-current]")).to_have_id(ids[0])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{ids[0]}")


def test_a_filter_narrows_the_list_and_is_in_the_address(acme, alice):
    runs(acme, 2, task="resize")
    (wanted,) = runs(acme, 1, task="mail", payload='{"to": "bob"}')
    page = alice.goto(at("runs"))
    page.keyboard.press("/")
    page.keyboard.type("mail")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_have_id(wanted)
    page.wait_for_url(re.compile(r"\?q=mail$"))


def test_statuses_are_chosen_in_a_menu_and_taken_away_by_chips(acme, alice):
    ids = runs(acme, 2, task="resize")
    page = alice.goto(at("runs"))
    page.get_by_role("button", name="Status", exact=True).click()
    page.get_by_role("checkbox", name="Completed").check()
    expect(page.get_by_text("No run matches")).to_be_visible()
    page.get_by_role("checkbox", name="Queued").check()
    expect(rows(page)).to_have_count(len(ids))
    page.wait_for_url(re.compile(r"\?status=QUEUED&status=COMPLETED$"))
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Remove the filter Status Queued").click()
    page.wait_for_url(re.compile(r"\?status=COMPLETED$"))
    expect(page.get_by_text("No run matches")).to_be_visible()


def test_tasks_are_chosen_in_a_menu_that_is_loaded_when_it_opens(acme, alice):
    runs(acme, 2, task="resize")
    page = alice.goto(at("runs"))
    page.get_by_role("button", name="Task", exact=True).click()
    page.get_by_role("checkbox", name="mail").check()
    expect(page.get_by_text("No run matches")).to_be_visible()


def test_a_view_is_kept_in_this_browser(acme, alice):
    runs(acme, 1, task="resize")
    page = alice.goto(at("runs?status=QUEUED"))
    page.get_by_role("button", name="Save as a view").click()
    page.get_by_role("textbox", name="Name of the view").fill("Waiting in line")
    page.keyboard.press("Enter")
    page.goto(alice.server + at("runs"))
    page.get_by_role("link", name="Waiting in line").click()
    page.wait_for_url(re.compile(r"\?status=QUEUED$"))
    page.get_by_role("button", name="Forget the view Waiting in line").click()
    expect(page.get_by_role("link", name="Waiting in line")).to_have_count(0)


def test_chosen_runs_are_canceled_after_one_question(acme, alice):
    ids = runs(acme, 3, task="resize")
    page = alice.goto(at("runs?task=resize"))
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    toolbar = page.get_by_role("toolbar", name="Selected runs")
    expect(toolbar).to_contain_text("2 selected")
    toolbar.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel the selected runs?")
    expect(dialog).to_contain_text("what executes is told to stop")
    assert alice.accessibility() == []
    dialog.get_by_role("button", name="Cancel the runs").click()
    expect(page.get_by_text("Canceled 2 runs.")).to_be_visible()
    page.wait_for_url(re.compile(r"\?task=resize$"))
    statuses = [page.locator(f"#{each} [data-status]").get_attribute("data-status") for each in ids]
    assert statuses == ["CANCELED", "CANCELED", "QUEUED"]


def test_all_of_a_page_are_chosen_at_once(acme, alice):
    runs(acme, 3, task="resize")
    page = alice.goto(at("runs"))
    page.get_by_role("checkbox", name="Select all runs of this page").check()
    toolbar = page.get_by_role("toolbar", name="Selected runs")
    expect(toolbar).to_contain_text("3 selected")
    toolbar.get_by_role("button", name="Clear the selection").click()
    expect(toolbar).to_be_hidden()


def test_the_palette_finds_a_task_and_a_run_by_its_id(acme, alice):
    (run,) = runs(acme, 1, task="resize")
    page = alice.goto(at("tasks"))
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").fill("resi")
    expect(page.get_by_role("option", selected=True)).to_contain_text("resize")
    assert alice.accessibility() == []
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{at('tasks/resize')}")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").fill(run)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run}")


def test_sections_have_shortcuts(acme, alice):
    page = alice.goto(at("runs"))
    # in one go: a busy machine may take longer between two keys than the page waits for the second
    page.evaluate(
        """for (const key of "gd")
             document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))"""
    )
    page.wait_for_url(f"**{at('deployments')}")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_one_goes_to_another_environment_by_the_keyboard(acme, alice):
    page = alice.goto(at("tasks"))
    page.get_by_role("button", name="Production").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Staging").wait_for()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="Staging")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{at('runs', env='staging')}")


def test_the_theme_is_kept(acme, alice):
    page = alice.goto(at("runs"))
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_payload_is_filled_in_as_a_form_and_the_task_runs(acme, alice):
    page = alice.goto(at("test"))
    page.get_by_role("link", name="mail").click()
    expect(page.get_by_label("copies")).to_have_value("1")
    page.get_by_label(re.compile("^to string")).fill("alice")
    page.get_by_label("copies").fill("3")
    page.get_by_label("urgent").check()
    page.get_by_label("kind").select_option("card")
    page.get_by_label("lines").fill("one\ntwo")
    page.get_by_label("name").fill("bob")
    assert alice.accessibility() == []
    page.get_by_role("button", name="JSON").click()
    expect(page.get_by_label("Payload as JSON")).to_have_value(re.compile('"copies": 3'))
    page.get_by_label("Tags").fill("from-the-form")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile(r"/runs/run_\w{26}$"))
    run = Run.objects.get()
    assert run.payload == (
        '{"to":"alice","copies":3,"urgent":true,"kind":"card","lines":["one","two"],'
        '"sender":{"name":"bob"}}'
    )
    assert (run.is_test, run.tags) == (True, ["from-the-form"])


def test_a_payload_that_does_not_fit_is_explained_and_kept(acme, alice):
    alice.expected.append("422")
    page = alice.goto(at("test?task=mail"))
    page.get_by_role("button", name="JSON").click()
    area = page.get_by_label("Payload as JSON")
    area.fill('{"copies": ')
    expect(page.get_by_text("Not JSON yet")).to_be_visible()
    area.fill('{"copies": "many"}')
    page.get_by_role("button", name="Run the task").first.click()
    expect(page.get_by_role("alert")).to_contain_text("'to' is a required property")
    page.get_by_role("button", name="JSON").click()
    expect(page.get_by_label("Payload as JSON")).to_have_value('{"copies": "many"}')


def test_a_test_begins_from_the_payload_of_a_run_or_a_template(acme, alice):
    runs(acme, 1, task="mail", payload='{"to": "carol"}')
    page = alice.goto(at("test?task=mail"))
    page.get_by_role("button", name="Start from").click()
    page.locator("[data-payload]").click()
    expect(page.get_by_label(re.compile("^to string"))).to_have_value("carol")
    page.get_by_role("button", name="Start from").click()
    page.get_by_role("textbox", name="Name of the template").fill("carol's")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="carol's", exact=True)).to_be_visible()


def test_the_menu_is_a_drawer_on_a_phone(acme, window):
    visitor = window(size=(390, 844))
    visitor.sign_in(factories.alice())
    page = visitor.goto(at("runs"))
    expect(page.get_by_role("link", name="Deployments")).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).click()
    assert visitor.accessibility() == []
    page.get_by_role("link", name="Deployments").click()
    page.wait_for_url(f"**{at('deployments')}")
    expect(page.get_by_role("heading", name="Deployments")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_styleguide_is_accessible(acme, window, theme):
    visitor = window(theme=theme)
    alice = factories.alice()
    alice.is_staff = True
    alice.save()
    visitor.sign_in(alice)
    visitor.goto("/styleguide")
    assert visitor.accessibility() == []
