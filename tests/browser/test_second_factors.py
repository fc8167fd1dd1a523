"""What protects an account, in a real browser: an authenticator app, recovery codes, passkeys,
and the list of the browsers that are signed in.

Browsers know passkeys on `localhost`, and on no address of digits.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import CDPSession, Page, expect

from apps.accounts.models import User
from apps.accounts.operations.links import one_time_link
from apps.core import clock
from tests.browser.visitor import Visitor
from tests.live import LiveServer

_STEP_SECONDS = 30


@pytest.fixture
def web(live_process: LiveServer, transactional_db) -> LiveServer:
    """The web process by its name."""
    return replace(live_process, url=live_process.url.replace("127.0.0.1", "localhost"))


@pytest.fixture
def someone(web) -> User:
    """Somebody who comes by links alone, as nearly everybody does."""
    return User.objects.create_user("erin@example.com", name="Erin")


def come_in(visitor: Visitor, someone: User, path: str = "/account") -> Page:
    """Use a link, up to where it leads to or a second factor is asked for."""
    link = one_time_link(someone, now=clock.now(), next_path=path)
    page = visitor.goto(urlsplit(link).path)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)
    return page


def send_code(page: Page, code: str) -> None:
    page.get_by_label("Code", exact=True).fill(code)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def send_app_code(page: Page, secret: str) -> None:
    """Type what the app shows; once more where its time ended on the way."""
    for _ in range(3):
        send_code(page, format_hotp_value(hotp_value(secret, int(time.time()) // _STEP_SECONDS)))
        if not page.get_by_text("Incorrect code").is_visible():
            return
    pytest.fail("no code of the app was taken")


def is_signed_in(page: Page, someone: User) -> None:
    expect(page.get_by_role("main").get_by_text(someone.email)).to_be_visible()


def test_an_app_is_set_up_and_asked_for_after_a_link(window, someone):
    here, there = window(), window()
    page = come_in(here, someone, "/account/security")
    page.get_by_role("link", name="Set up").click()
    secret = page.locator("#secret").inner_text()
    send_code(page, "nothing")
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    assert page.locator("#secret").inner_text() == secret
    send_app_code(page, secret)

    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    codes = page.locator("[data-secret]").all_inner_texts()
    assert len(set(codes)) == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert set(codes) <= set(download.value.path().read_text().split())

    page = come_in(there, someone)
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    assert there.accessibility() == []
    page.goto(there.server + "/account")
    expect(page).to_have_url(re.compile("/sign-in"))  # half signed in is not signed in
    page = come_in(there, someone)
    send_app_code(page, secret)
    is_signed_in(page, someone)

    page = here.goto("/account/security")
    page.get_by_role("link", name="Turn off").click()
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_role("link", name="Set up")).to_be_visible()
    is_signed_in(come_in(window(), someone), someone)


def test_a_recovery_code_works_once(window, someone):
    here, there = window(), window()
    page = come_in(here, someone, "/account/security/app/activate/")
    send_app_code(page, page.locator("#secret").inner_text())
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    code = page.locator("[data-secret]").first.inner_text()

    page = come_in(there, someone)
    send_code(page, code)
    is_signed_in(page, someone)
    expect(here.goto("/account/security/codes/").get_by_text("9 of 10 are left")).to_be_visible()
    page = come_in(window(), someone)
    send_code(page, code)
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Send me a link")).to_be_visible()


def authenticator(page: Page) -> tuple[CDPSession, str]:
    """A device that holds passkeys and has just seen the finger of its owner."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return tools, made["authenticatorId"]


def test_a_passkey_signs_in_by_itself(visitor, someone):
    tools, device = authenticator(visitor.page)
    page = come_in(visitor, someone, "/account/security")
    page.get_by_role("link", name="Add").click()
    page.get_by_label("Name", exact=True).fill("Laptop")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(lambda url: "/add/" not in url)
    page = visitor.goto("/account/security/keys/")
    expect(page.get_by_role("listitem").filter(has_text="Laptop")).to_contain_text("passkey")

    page.goto(visitor.server + "/sign-out")
    page.get_by_role("button", name="Sign out").click()
    page = visitor.goto("/sign-in?next=/account/security/keys/")
    tools.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("No passkey was used")
    tools.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Passkeys and security keys")).to_be_visible()

    visitor.context.clear_cookies()
    page = come_in(visitor, someone)
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    is_signed_in(page, someone)

    page = visitor.goto("/account/security/keys/")
    page.get_by_role("link", name="Remove").click()
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("No passkeys yet")).to_be_visible()


def test_a_browser_is_signed_out_from_another(window, someone):
    here, lost, third = window(), window(), window()
    for visitor in (lost, third, here):
        is_signed_in(come_in(visitor, someone), someone)
    page = here.goto("/account/sessions")
    rows = page.get_by_role("main").get_by_role("listitem")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="this browser")).to_have_count(1)
    # the one that was seen last but this: `third`
    page.get_by_role("button", name=re.compile("^Sign out of ")).first.click()
    expect(rows).to_have_count(2)
    signed_out = [each for each in (lost, third) if "/sign-in" in each.goto("/account").url]
    assert len(signed_out) == 1
    page = here.goto("/account/sessions")
    page.get_by_role("button", name="Sign out everywhere else").click()
    page.get_by_role("dialog").get_by_role("button", name="Sign out", exact=True).click()
    expect(rows).to_have_count(1)
    for visitor in (lost, third):
        expect(visitor.goto("/account")).to_have_url(re.compile("/sign-in"))
    is_signed_in(here.goto("/account"), someone)
