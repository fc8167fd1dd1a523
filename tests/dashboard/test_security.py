"""What pages may load, and how the theme is chosen."""

from __future__ import annotations

import re

import pytest

from apps.orgs.permissions import Permission
from tests.dashboard.pages import at

pytestmark = pytest.mark.django_db


def policy(response) -> dict[str, str]:
    parts = response.headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


def test_a_page_allows_nothing_inline_and_no_other_host(visit):
    response = visit().get(at("runs"))
    found = policy(response)
    assert "unsafe" not in str(found)
    assert "http" not in str(found)
    assert found["default-src"] == "'none'"
    nonce = re.fullmatch(r"'self' 'nonce-([\w-]+)'", found["script-src"])[1]
    assert f'<script type="importmap" nonce="{nonce}">' in response.getvalue().decode()


def test_no_two_pages_have_the_same_nonce(visit):
    client = visit()
    assert len({policy(client.get(at("runs")))["script-src"] for _ in range(3)}) == 3


def test_pages_have_neither_inline_styles_nor_inline_handlers(acme, shipped, visit):
    client = visit()
    for page in ("runs", "tasks", "test", "test?task=hello", "deployments"):
        body = client.get(at(page)).getvalue().decode()
        assert re.findall(r"<[^>]+\s(?:style|on[a-z]+|hx-on[^=]*)=", body) == [], page


def test_what_is_no_page_carries_no_policy(client):
    assert "Content-Security-Policy" not in client.get("/health/live").headers


@pytest.mark.parametrize(
    ("cookie", "shown"),
    [("dark", 'data-theme="dark"'), ("light", 'data-theme="light"'), ('"><script>', "")],
)
def test_the_theme_is_that_of_the_cookie(visit, cookie, shown):
    client = visit()
    client.cookies["theme"] = cookie
    tag = re.search(r"<html[^>]*>", client.get(at("runs")).getvalue().decode())[0]
    assert tag == f'<html lang="en" {shown}>'.replace(" >", ">")


def test_templates_know_what_the_visitor_may_do(visit, viewer):
    response = visit(viewer).get(at("runs"))
    can = response.context["can"]
    assert can["runs_read"]
    assert not can["runs_write"]
    assert set(can) == {permission.name.lower() for permission in Permission}


def test_the_styleguide_is_for_those_who_build_pages(visit, settings):
    client = visit()
    assert client.get("/styleguide").status_code == 404
    settings.DEBUG = True
    assert client.get("/styleguide").status_code == 200
