"""Coming in, in a real browser: by the link in a mail, by GitHub, with a second factor."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from apps.accounts.models import User
from apps.accounts.operations.login import create_code, redeem_code
from apps.accounts.operations.tokens import resolve_token
from apps.core import clock
from apps.orgs.operations.invites import invite_member
from tests.browser.mailbox import at_github, live_process, mailbox, mailing_process, web
from tests.browser.visitor import Visitor
from tests.factories import acme, alice, organization_as

__all__ = ["at_github", "live_process", "mailbox", "mailing_process", "web"]


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
