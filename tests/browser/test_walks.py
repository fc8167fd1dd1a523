"""Whole walks: from a mail to a run that the shipped worker executes, by keys alone; and what each
role meets on its way."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from apps.core import clock
from apps.core.ids import public_id
from apps.environments.models import Environment
from apps.environments.operations.variables import set_variable
from apps.environments.types import EnvironmentType
from apps.orgs.roles import Role
from tests import factories
from tests.browser.mailbox import at_github, live_process, mailbox, mailing_process, web
from tests.browser.visitor import Visitor
from tests.dashboard.pages import at
from tests.runs.engine import trigger, version
from tests.scenario.conftest import shop

__all__ = ["at_github", "live_process", "mailbox", "mailing_process", "shop", "web"]

IS_FOCUSED = "(element) => element === document.activeElement"
IS_WITHIN = """(dialog) => {
  const { activeElement, body } = document;
  return activeElement === body || dialog.contains(activeElement);
}"""
# what shows where one is: an outline or a ring of its own
IS_MARKED = """() => {
  const style = getComputedStyle(document.activeElement);
  const isOutlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return isOutlined || style.boxShadow !== "none";
}"""


def tab_to(page: Page, place: Locator, key: str = "Tab") -> None:
    """Press Tab until one is there; it must be seen that one is."""
    for _ in range(100):
        if place.evaluate(IS_FOCUSED):
            assert page.evaluate(IS_MARKED), "nothing shows where the focus is"
            return
        page.keyboard.press(key)
    pytest.fail("Tab does not lead there")


def tab_around(page: Page, dialog: Locator, presses: int = 12) -> None:
    """Tab stays in a dialog, or is on its way through the browser's own bar."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        assert dialog.evaluate(IS_WITHIN)


def come_in_by_mail(visitor: Visitor, mailbox, address: str) -> None:
    page = visitor.goto("/sign-in")
    before = len(mailbox.letters_to(address))
    page.keyboard.type(address)  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    page.goto(mailbox.link_to(address, after=before))


@pytest.mark.timeout(300)
def test_a_run_is_watched_canceled_and_replayed_by_keys_alone(shop, visitor, mailbox):
    factories.alice()
    come_in_by_mail(visitor, mailbox, "alice@example.com")
    page = visitor.page
    page.wait_for_url(f"**{at('runs')}")
    expect(page.locator("live-stream")).to_have_attribute("data-state", "open")

    run = _opens_from_the_list(page, shop)
    expect(page.locator("[data-reason]")).to_contain_text("worker")
    shop.start_worker()
    expect(_status(page)).to_have_attribute("data-status", "EXECUTING")
    _cancels(page)
    _asks_for_help(page)
    _replays(page, run)
    _goes_by_the_palette(page, run)


def _status(page: Page) -> Locator:
    return page.locator("header [data-status]").first


def _opens_from_the_list(page: Page, shop) -> str:
    """A run that comes into the list by itself."""
    run = str(shop.client.trigger("forever").id)
    expect(page.locator(f"#{run}")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("tr[data-current]")).to_have_id(run)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run}")
    return run


def _cancels(page: Page) -> None:
    """Not at once: the question is walked around, left by Escape, and asked again."""
    cancel = page.get_by_role("button", name="Cancel the run").first
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    expect(dialog.get_by_role("button", name="Keep as it is")).to_be_focused()
    tab_around(page, dialog)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cancel).to_be_focused()
    expect(_status(page)).to_have_attribute("data-status", "EXECUTING")
    page.keyboard.press("Enter")
    tab_to(page, dialog.get_by_role("button", name="Cancel the run"))
    page.keyboard.press("Enter")
    expect(_status(page)).to_have_attribute("data-status", "CANCELED")


def _asks_for_help(page: Page) -> None:
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    tab_around(page, dialog, presses=4)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def _replays(page: Page, run: str) -> None:
    page.keyboard.press("r")
    tab_to(page, page.get_by_role("dialog").get_by_role("button", name="Replay"))
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/runs/run_" in url and run not in url)
    expect(_status(page)).to_have_attribute("data-status", "EXECUTING")
    expect(page.get_by_role("link", name="Replay")).to_have_attribute("href", re.compile(run))


def _goes_by_the_palette(page: Page, run: str) -> None:
    page.keyboard.press("Control+k")
    palette = page.get_by_role("combobox", name="Search")
    expect(palette).to_be_focused()
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.type(run)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run}")
    page.keyboard.press("Control+k")
    page.keyboard.type("forever")
    chosen = page.get_by_role("listbox", name="Results").get_by_role("option", selected=True)
    expect(chosen).to_contain_text("forever")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/forever")
    page.keyboard.press("Control+k")
    page.keyboard.type("Queues")
    expect(chosen).to_contain_text("Queues")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{at('queues')}")
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()


def test_somebody_new_is_led_to_a_first_run(visitor, mailbox):
    come_in_by_mail(visitor, mailbox, "gina@example.com")
    page = visitor.page
    page.wait_for_url("**/welcome")
    page.get_by_label("Organization").fill("Gina and friends")
    page.get_by_label("First project").fill("Shop")
    page.keyboard.press("Enter")

    page.wait_for_url("**/env/dev/start")
    expect(page.locator("code[data-secret]")).to_have_text(re.compile("^tr_dev_"))
    steps, done = page.locator("#steps li"), page.locator("#steps li[data-done]")
    expect(steps).to_have_count(3)
    expect(done).to_have_count(0)
    environment = Environment.objects.get(type=EnvironmentType.DEVELOPMENT)
    version(environment, "hello")
    expect(done).to_have_count(2)
    trigger(factories.key_scope(environment), now=clock.now())
    expect(done).to_have_count(3)
    page.get_by_role("link", name="Look at the run").click()
    expect(page.get_by_role("heading", name="hello")).to_be_visible()


# -- Roles -------------------------------------------------------------------------------------

# page -> what a button on it is called, and who has it
OWNER, DEVELOPER, VIEWER = Role.OWNER, Role.DEVELOPER, Role.VIEWER
MAKERS = {OWNER, DEVELOPER}
BUTTONS = [
    ("runs", "Select all runs of this page", MAKERS),
    ("run", "Replay", MAKERS),
    ("run", "Cancel the run", MAKERS),
    ("keys", "New key", {OWNER}),
    ("variables", "New variable", MAKERS),
    ("settings", "Delete…", {OWNER}),
    ("members", "Invite", {OWNER}),
    ("organization", "Delete…", {OWNER}),
]
# who is shown a page at all; the others are told why not
READERS = {"keys": MAKERS, "variables": MAKERS}
POST = """async (path) => {
  const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value
    ?? document.cookie.match(/csrftoken=([^;]*)/)?.[1] ?? "";
  const answer = await fetch(path, {
    method: "POST", redirect: "manual",
    headers: { "content-type": "application/x-www-form-urlencoded", "x-csrftoken": token },
  });
  return answer.status;
}"""


@pytest.fixture
def acme(web):
    tenant = factories.acme()
    version(tenant.production, "hello")
    set_variable(tenant.scope, name="REGION", value="eu", now=clock.now())
    factories.member(tenant.organization, factories.person("dora"), Role.VIEWER)
    return tenant


@pytest.fixture
def addresses(acme) -> dict[str, str]:
    run = public_id("run", trigger(acme.scope, now=clock.now()))
    return {
        "runs": at("runs"),
        "run": at(f"runs/{run}"),
        "keys": at("keys"),
        "variables": at("variables"),
        "settings": at("settings"),
        "members": "/orgs/acme/members",
        "organization": "/orgs/acme/settings",
    }


def offered(visitor: Visitor, path: str, names: set[str]) -> set[str]:
    """Which of these buttons and boxes the page has for this visitor, in sight and usable."""
    page = visitor.goto(path)
    found = set()
    for name in names:
        button = page.get_by_role("button", name=name, exact=True)
        box = page.get_by_role("checkbox", name=name, exact=True)
        if button.or_(box).and_(page.locator(":visible:enabled")).count():
            found.add(name)
    return found


@pytest.mark.parametrize(("name", "role"), [("alice", OWNER), ("bob", DEVELOPER), ("dora", VIEWER)])
def test_each_role_is_offered_what_it_may_do(window, addresses, name, role):
    visitor = window()
    visitor.expected.append("403 (Forbidden)")
    visitor.sign_in(factories.person(name))
    for place, path in addresses.items():
        known = {button: roles for at_, button, roles in BUTTONS if at_ == place}
        expected = {button for button, roles in known.items() if role in roles}
        assert offered(visitor, path, set(known)) == expected, place
        refused = visitor.page.get_by_text("which your role")
        assert refused.count() == (role not in READERS.get(place, set(Role))), place
    navigation = visitor.goto(addresses["runs"]).get_by_role("navigation")
    assert navigation.get_by_role("link", name="API keys").count() == (role in MAKERS)
    status = visitor.page.evaluate(POST, f"{addresses['run']}/cancellation")
    assert (status == 403) == (role is VIEWER)


def test_a_stranger_meets_nothing(window, acme, addresses):
    factories.globex()
    visitor = window()
    visitor.expected.append("404 (Not Found)")
    visitor.sign_in(factories.charlie())
    for path in addresses.values():
        page = visitor.goto(path)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Not")
        assert not re.search("acme|alice|hello", page.get_by_role("main").inner_text(), re.I)
    visitor.goto("/account")
    assert visitor.page.evaluate(POST, f"{addresses['run']}/cancellation") == 404


def test_an_owner_invites_and_the_mail_leads_in(window, acme, mailbox):
    owner, guest = window(), window()
    owner.sign_in(factories.alice())
    page = owner.goto("/orgs/acme/members")
    page.get_by_role("button", name="Invite", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("E-mail address").fill("frank@example.com")
    dialog.get_by_label("Role").select_option("developer")
    dialog.get_by_role("button", name="Send the invite").click()
    expect(page.get_by_role("main").get_by_text("frank@example.com", exact=True)).to_be_visible()

    page = guest.page
    page.goto(mailbox.link_to("frank@example.com"))
    expect(page.get_by_role("heading", name="Join Acme")).to_be_visible()
    assert guest.accessibility() == []
    page.get_by_role("button", name="Send a link to frank@example.com").click()
    page.goto(mailbox.link_to("frank@example.com", after=1))
    page.get_by_role("button", name="Accept the invite").click()
    page.wait_for_url("**/orgs/acme")
    assert offered(guest, at("variables"), {"New variable"}) == {"New variable"}
    assert offered(guest, "/orgs/acme/members", {"Invite"}) == set()
    assert offered(owner, "/orgs/acme/members", {"Remove Frank", "Invite"}) >= {"Invite"}
