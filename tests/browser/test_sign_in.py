"""Coming in, in a real browser: by the link in a mail, by GitHub, with a second factor."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email import message_from_string, policy
from pathlib import Path

import pytest
from playwright.sync_api import expect

from apps.accounts.models import User
from apps.accounts.operations.login import create_code, redeem_code
from apps.accounts.operations.tokens import resolve_token
from apps.core import clock
from apps.environments.operations.variables import set_variable
from apps.orgs.operations.invites import invite_member
from tests.browser.visitor import Visitor
from tests.factories import acme, alice, organization_as
from tests.github import CLIENT_ID, CLIENT_SECRET, GitHub, github
from tests.live import LiveServer, test_database_url, web_process

_PATIENCE_SECONDS = 60


class Mailbox:
    """The folder that the web process mails into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def letters_to(self, address: str) -> list[str]:
        """The text of each letter to somebody, the oldest first."""
        found = []
        for path in sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
            for text in path.read_text().split("-" * 79):
                letter = message_from_string(text.strip() + "\n", policy=policy.default)
                if letter["to"] == address:
                    found.append(letter.get_body(("plain",)).get_content())
        return found

    def link_to(self, address: str, *, after: int = 0) -> str:
        """The address in the newest letter to somebody who has got `after` of them before."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(letters := self.letters_to(address)) <= after:
            assert time.monotonic() < deadline, f"no letter to {address}"
            time.sleep(0.05)
        found = re.findall(r"http://\S+/(?:sign-in/link|invites)/\S+", letters[-1])
        return str(found[0])


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory) -> Mailbox:
    return Mailbox(tmp_path_factory.mktemp("mails"))


@pytest.fixture(scope="module")
def at_github() -> Iterator[GitHub]:
    with github() as found:
        yield found


@pytest.fixture(scope="module")
def mailing_process(mailbox, at_github, django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    with django_db_blocker.unblock():
        database = test_database_url()
    more = {
        "HOLDFAST_TEST_MAILS": str(mailbox.folder),
        "GITHUB_URL": at_github.url,
        "GITHUB_CLIENT_ID": CLIENT_ID,
        "GITHUB_CLIENT_SECRET": CLIENT_SECRET,
    }
    with web_process(database, **more) as server:
        yield server


@pytest.fixture
def live_process(mailing_process):
    """Shadows the common one, so that `web` and what is built on it use this process."""
    return mailing_process


@pytest.fixture
def web(live_process, transactional_db):
    return live_process


def ask_for_link(visitor: Visitor, address: str, path: str = "/sign-in") -> None:
    page = visitor.goto(path)
    page.get_by_label("E-mail address").fill(address)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    expect(page.get_by_text(address)).to_be_visible()


def is_signed_in(visitor: Visitor, user: User) -> None:
    page = visitor.goto("/account")
    expect(page.get_by_role("main").get_by_text(user.email)).to_be_visible()


def test_a_link_in_the_browser_that_asked_leads_straight_to_where_one_wanted(visitor, mailbox):
    someone = alice()
    page = visitor.goto("/account/tokens")
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    before = len(mailbox.letters_to(someone.email))
    page.get_by_label("E-mail address").fill(someone.email)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()

    page.goto(mailbox.link_to(someone.email, after=before))

    expect(page.get_by_role("heading", name="Personal tokens")).to_be_visible()
    is_signed_in(visitor, someone)


def test_a_link_in_another_browser_asks_first_and_works_once(window, mailbox):
    someone = alice()
    here, there = window(), window()
    before = len(mailbox.letters_to(someone.email))
    ask_for_link(here, someone.email)
    link = mailbox.link_to(someone.email, after=before)

    page = there.page
    page.goto(link)
    page.goto(link)  # looking uses nothing up
    expect(page.get_by_text(someone.email)).to_be_visible()
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)
    is_signed_in(there, someone)

    here.expected.append("400 (Bad Request)")
    here.page.goto(link)
    expect(here.page.get_by_role("heading", name="This link works no more")).to_be_visible()


def test_github_makes_an_account_and_knows_it_again(window, at_github):
    first = window()
    first.expected.append(at_github.url)
    first.goto("/sign-in")
    first.page.get_by_role("button", name="Continue with GitHub").click()
    first.page.get_by_role("link", name="Authorize").click()

    first.page.wait_for_url("**/welcome")
    dora = User.objects.get(email="dora@example.com")
    assert dora.name == "Dora D."

    second = window()
    second.expected.append(at_github.url)
    second.goto("/sign-in?next=/account")
    second.page.get_by_role("button", name="Continue with GitHub").click()
    second.page.get_by_role("link", name="Authorize").click()
    expect(second.page.get_by_role("main").get_by_text("dora@example.com")).to_be_visible()
    assert User.objects.count() == 1


def test_saying_no_at_github_leads_back(visitor, at_github):
    visitor.expected.append(at_github.url)
    page = visitor.goto("/sign-in")
    page.get_by_role("button", name="Continue with GitHub").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("button", name="Continue with GitHub")).to_be_visible()
    expect(page.get_by_text("GitHub did not sign you in")).to_be_visible()


PAGES = ["/sign-in", "/sign-in/password"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_the_entrance_is_for_everybody(window, path, theme):
    visitor = window(theme=theme)
    visitor.goto(path)
    assert visitor.accessibility() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "path",
    [
        "/account",
        "/account/tokens",
        "/account/sessions",
        "/account/security",
        "/account/security/app/activate/",
        "/account/security/keys/",
        "/account/security/keys/add/",
    ],
)
def test_the_pages_of_an_account_are_for_everybody(window, path, theme):
    acme()
    visitor = window(theme=theme)
    visitor.sign_in(alice())
    visitor.goto(path)
    assert visitor.accessibility() == []


def test_an_invite_is_taken_up_by_somebody_new(window, mailbox):
    tenant = acme()
    made = invite_member(
        organization_as(tenant, alice()), email="erin@example.com", role="viewer", now=clock.now()
    )
    visitor = window()
    before = len(mailbox.letters_to("erin@example.com"))
    page = visitor.goto(f"/invites/{made.token}")
    page.get_by_role("button", name="Send a link to erin@example.com").click()
    page.goto(mailbox.link_to("erin@example.com", after=before))
    page.get_by_role("button", name="Accept the invite").click()

    page.wait_for_url("**/orgs/acme")
    visitor.goto("/orgs/acme/members")
    expect(page.get_by_role("main").get_by_text("erin@example.com", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Invite")).to_have_count(0)


def test_a_terminal_is_approved_in_the_browser(visitor):
    visitor.sign_in(alice())
    code = create_code(client="holdfast", now=clock.now()).code
    page = visitor.goto(f"/account/authorization-code/{code}")
    expect(page.get_by_text(code[-4:], exact=True)).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Your terminal is signed in")).to_be_visible()
    token = redeem_code(code=code, now=clock.now())
    assert token is not None
    assert resolve_token(token.secret, now=clock.now()) == alice()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_people_are_for_everybody(window, theme):
    tenant = acme()
    set_variable(tenant.scope, name="REGION", value="eu", now=clock.now())
    invite_member(
        organization_as(tenant, alice()), email="erin@example.com", role="viewer", now=clock.now()
    )
    visitor = window(theme=theme)
    visitor.sign_in(alice())
    found = {}
    production = "/orgs/acme/projects/acme-shop/env/prod"
    for path in (
        *("/orgs/acme", "/orgs/acme/members", "/orgs/acme/audit", "/orgs/acme/settings"),
        *(f"{production}/{page}" for page in ("keys", "variables", "settings", "start")),
        "/welcome",
    ):
        visitor.goto(path)
        found[path] = visitor.accessibility()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
