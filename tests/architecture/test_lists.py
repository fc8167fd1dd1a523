"""Every list page can be filtered, sorted and taken away as a file, by links that hold all of it.

The pages come from the URL conf: one that shows a table and is not named here fails.
"""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from apps.core.ids import parse_public_id
from apps.dashboard.cursors import OLDEST
from apps.runs.models import JournalEntry
from tests.architecture.routes import every_route
from tests.architecture.test_access import Home, home
from tests.factories import alice, personal_token

__all__ = ["home"]

ENVIRONMENT = "orgs/%(organization)s/projects/%(project)s/env/%(env)s/"
ORGANIZATION = "orgs/%(organization)s"
# Address -> how it is sorted the other way.
LISTS = {
    f"{ENVIRONMENT}runs": OLDEST,
    f"{ENVIRONMENT}runs/%(run)s/journal": "newest",
    f"{ENVIRONMENT}tasks": "-task",
    f"{ENVIRONMENT}deployments": OLDEST,
    f"{ENVIRONMENT}schedules": OLDEST,
    f"{ENVIRONMENT}batches": OLDEST,
    f"{ENVIRONMENT}tokens": OLDEST,
    f"{ENVIRONMENT}bulk-actions": OLDEST,
    f"{ENVIRONMENT}queues": "-queue",
    f"{ENVIRONMENT}keys": "name",
    f"{ENVIRONMENT}variables": "-name",
    f"{ORGANIZATION}/members": "-since",
    f"{ORGANIZATION}/audit": OLDEST,
    "account/tokens": "name",
}
# Tables that are a part of something else, or whole and short.
PARTS = {
    f"{ENVIRONMENT}runs/%(run)s",  # the beginning of its journal, which has a page
    f"{ENVIRONMENT}concurrency",  # the limits as they stand
    f"{ENVIRONMENT}settings",  # the environments of a project
    f"{ENVIRONMENT}tasks/%(task)s",  # the newest runs; the list is one click away
    f"{ENVIRONMENT}queues/%(queue)s",  # its keys, and who holds its slots
    f"{ENVIRONMENT}schedules/%(schedule)s",  # its latest times
    f"{ENVIRONMENT}batches/%(batch)s",  # its items
    f"{ENVIRONMENT}bulk-actions/%(action)s",
    f"{ENVIRONMENT}tokens/%(token)s",
    f"{ENVIRONMENT}deployments/%(deployment)s",
    "styleguide",
}
# Statements of one page: the session, the person, the place, and what it shows.
MOST_QUERIES = 12
DEAR = {
    f"{ENVIRONMENT}runs/%(run)s": 26,  # its family, attempts, moves, journal, and why it waits
    f"{ENVIRONMENT}queues/%(queue)s": 18,  # each limit above it, its keys and who holds its slots
    f"{ENVIRONMENT}runs/%(run)s/run.json": 26,
}
_LINK = re.compile(r'href="([^"]*)"')

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor(home: Home) -> Client:
    """Alice, with a token of her own and a step in the journal of her run."""
    personal_token(alice())
    JournalEntry.objects.create(
        run_id=parse_public_id("run", home.samples["run"]), seq=1, position="1", kind="step",
        name="charge", output="7",
    )  # fmt: skip
    client = Client()
    client.force_login(alice())
    return client


def address(home: Home, template: str) -> str:
    places = {"organization": "acme", "project": home.tenant.project.slug, "env": "prod"}
    return "/" + template % {**home.samples, **places}


def asked(answer: Any) -> list[dict[str, list[str]]]:
    """What the links ask for that lead to the same page with another query."""
    found = [unescape(link) for link in _LINK.findall(answer.content.decode())]
    return [parse_qs(urlsplit(link).query) for link in found if link.startswith("?")]


def download(path: str) -> tuple[str, str]:
    """A file and its type; that of the runs is written while it is read."""
    client = AsyncClient()
    client.force_login(alice())

    async def fetch() -> tuple[str, str]:
        answer: Any = await client.get(path)
        parts = answer.streaming_content if answer.streaming else None
        body = answer.content if parts is None else b"".join([part async for part in parts])
        return answer["Content-Type"].partition(";")[0], body.decode()

    return async_to_sync(fetch)()


@pytest.mark.parametrize("template", LISTS)
def test_a_list_is_filtered_sorted_and_exported_by_its_address(home, visitor, template):
    path = address(home, template)
    answer = visitor.get(path)
    page = answer.content.decode()
    assert 'role="search"' in page
    links = asked(answer)
    sorts = {value for link in links for value in link.get("sort", [])}
    sorts |= set(re.findall(r'<option value="([^"]+)"', page)) if 'name="sort"' in page else set()
    assert LISTS[template] in sorts, sorts
    assert {value for link in links for value in link.get("export", [])} == {"csv", "json"}

    sorted_page = visitor.get(path, {"sort": LISTS[template]})
    assert sorted_page.status_code == 200
    kept = [link["sort"] for link in asked(sorted_page) if "export" in link]
    assert kept == [[LISTS[template]]] * 2, "a file has the order of the page"

    kind, text = download(f"{path}?export=csv&sort={LISTS[template]}")
    assert (kind, list(csv.DictReader(io.StringIO(text))) != []) == ("text/csv", True)
    kind, text = download(f"{path}?export=json")
    assert (kind, json.loads(text) != []) == ("application/json", True)
    assert visitor.get(path, {"export": "xml"}).status_code == 404


def test_every_page_that_shows_a_table_is_known_and_no_page_asks_many_questions(home, visitor):
    unknown, dear = [], {}
    visitor.get(address(home, f"{ENVIRONMENT}runs"))  # notes the session
    for route in every_route():
        if route.method != "get" or not route.template.startswith(("orgs/", "account", "style")):
            continue
        if not route.parameters <= {*home.samples, "organization", "project", "env"}:
            continue
        with CaptureQueriesContext(connection) as queries:
            answer = visitor.get(address(home, route.template))
        if b"<table" in answer.getvalue() and route.template not in {*LISTS, *PARTS}:
            unknown.append(route.template)
        if len(queries) > DEAR.get(route.template, MOST_QUERIES):
            dear[route.template] = len(queries)
    assert unknown == [], "a list has a row in LISTS, any other table one in PARTS"
    assert dear == {}, "a page costs few statements, however much it shows"
