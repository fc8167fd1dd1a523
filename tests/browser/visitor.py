"""Somebody in front of a browser: signs in, looks at pages, and notices what a person would not.

Whatever a page gets wrong behind its face is collected while the visitor walks, and is asserted at
the end of every test: errors in the console, refusals of the content security policy, requests to
anywhere but the server, answers with a server error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response

from apps.accounts.models import User
from tests.browser.axe import axe_source

Theme = Literal["light", "dark"]
WIDE = (1440, 900)
NARROW = (390, 844)
PATIENCE_MS = 60_000
# what WCAG 2.2 AA and common sense ask; one list for every page
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass
class Visitor:
    """One browser window of one person.

    `expected` holds fragments of complaints that a test brings about on purpose.
    """

    server: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def sign_in(self, user: User) -> None:
        """Give this window a session, as signing in would."""
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        self.context.add_cookies(
            [
                {
                    "name": settings.SESSION_COOKIE_NAME,
                    "value": str(session.session_key),
                    "url": self.server,
                    "httpOnly": True,
                }
            ]
        )

    def goto(self, path: str) -> Page:
        """Open a page and wait until it has come to rest."""
        self.page.goto(self.server + path, wait_until="load")
        return self.page

    def accessibility(self) -> list[str]:
        """What axe finds wrong with the page as it stands, one line each."""
        # evaluated by the debugger, so the page's policy need not allow it
        self.page.evaluate(axe_source())
        options = json.dumps({"runOnly": {"type": "tag", "values": _RULES}})
        found = self.page.evaluate(f"axe.run(document, {options})")
        return [_violation(violation) for violation in found["violations"]]

    def unexpected(self) -> list[str]:
        """The complaints that no test brought about on purpose."""
        return [
            complaint
            for complaint in self.complaints
            if not any(fragment in complaint for fragment in self.expected)
        ]

    # -- What is noticed -----------------------------------------------------------------------

    def watch(self) -> None:
        # Playwright writes on the objects whose methods it calls: no slots
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._complain(f"uncaught: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self._complain(f"console {message.type}: {message.text} ({message.location['url']})")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        is_ours = parts.netloc == urlsplit(self.server).netloc
        if parts.scheme in {"http", "https", "ws", "wss"} and not is_ours:
            self._complain(f"a request to elsewhere: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            self._complain(f"{response.status} for {response.url}")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)


def open_window(
    browser: Browser, server: str, *, theme: Theme = "light", size: tuple[int, int] = WIDE
) -> Visitor:
    """A fresh window, with nothing remembered and nobody signed in."""
    width, height = size
    context = browser.new_context(
        color_scheme=theme,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",  # pictures and checks see the page at rest
        locale="en-GB",
        timezone_id="UTC",
    )
    visitor = Visitor(server=server, context=context, page=context.new_page())
    visitor.watch()
    return visitor


def _violation(violation: dict[str, Any]) -> str:
    places = "; ".join(
        f"{' '.join(map(str, node['target']))} [{node.get('failureSummary', '').strip()}]"
        for node in violation["nodes"][:5]
    )
    return f"{violation['id']} ({violation['impact']}): {violation['help']} at {places}"
