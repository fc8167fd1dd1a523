"""Letters that the web process writes, as their readers get them; and the GitHub that it knows.

A module that imports `live_process` and `web` from here has a web process of its own for them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email import message_from_string, policy
from pathlib import Path

import pytest

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
