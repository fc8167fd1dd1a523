"""Every page of an organization, visited by people who must not get in; and by those who may.

The pages come from the URL conf, as the routes of the API do in `test_access`, whose samples serve
here too. What people do to get in has tests of its own, in `tests/accounts` and `tests/dashboard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import resolve

from apps.dashboard import entrance, urls
from apps.orgs.roles import Role
from tests.architecture.routes import PAGES, Route, every_route, names_below
from tests.architecture.test_access import Home, belongings, home
from tests.browser import test_pages as looked_at
from tests.factories import alice, charlie, globex, member, person

__all__ = ["home"]

ROUTES = [
    route for route in every_route() if route.template.startswith(PAGES) and route.parameters
    and route.template.startswith("orgs/")
]  # fmt: skip

# What a form must say, so that what it is about is found.
FORMS = {"POST /orgs/%(organization)s/projects/%(project)s/env/%(env)s/test": "task=resize"}

# What has no face of its own, so that no browser need look at it: parts of pages, files, and what
# only forms are sent to. Such a name may also be of one that a test of its own walks to.
PARTS = {"switcher", "environments", "palette", "run_tasks", "run_span", "test_payloads"}
FILES = {"run_trace", "run_logs", "run_logs_file", "run_file", "run_value"}
SENT_TO = re.compile(
    "_(cancellations?|replays?|fork|promotion|rotation|revocation|import|deletion|limits|pause|key"
    "|abortion|activation|completion|creation|role|removal|renewal|login|callback|error|cancelled)$"
)
WALKED = {
    *("home", "leaving", "styleguide", "impersonation", "impersonation_end", "device_login"),
    *("sign_in_sent", "sign_in_link", "account_signup", "socialaccount_signup", "account_logout"),
    *("account_inactive", "account_disconnect", "account_reauthenticate"),
    *("socialaccount_connections", "account_email"),  # the profile by other names
    # tests/browser/test_second_factors.py
    *("mfa_authenticate", "mfa_login_webauthn"),
    *("mfa_reauthenticate", "mfa_reauthenticate_webauthn"),
    *("mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes"),
    *("mfa_download_recovery_codes", "mfa_edit_webauthn", "mfa_remove_webauthn"),
}

pytestmark = pytest.mark.django_db


def visit(route: Route, home: Home, user: Any, **changed: str) -> Any:
    """One request, whose effects are undone."""
    places = {
        "organization": home.tenant.organization.slug,
        "project": home.tenant.project.slug,
        "env": "prod",
        "form": "csv",
    }
    client = Client()
    if user is not None:
        client.force_login(user)
    with transaction.atomic():
        response: Any = client.generic(
            route.method.upper(),
            route.path(home.samples | places | changed),
            FORMS.get(str(route), ""),
            content_type="application/x-www-form-urlencoded",
        )
        body = "" if response.streaming else response.getvalue().decode()
        transaction.set_rollback(True)
    response.text_ = body
    return response


def visits(home: Home, user: Any, **changed: str) -> Iterator[tuple[str, Any]]:
    for route in ROUTES:
        yield str(route), visit(route, home, user, **changed)


def test_pages_were_found():
    assert len(ROUTES) > 10


def test_whoever_is_not_signed_in_is_sent_to_sign_in(home):
    for route, response in visits(home, None):
        if response.status_code == 405:
            continue
        assert response.status_code == 302, route
        assert "next=/orgs/acme" in response["Location"], route


def test_a_stranger_finds_nothing(home):
    globex()
    before = belongings(home.tenant)
    for route, response in visits(home, charlie()):
        assert response.status_code in (404, 405), route
        assert [mark for mark in home.marks if mark in response.text_] == [], route
    assert belongings(home.tenant) == before


def test_names_that_could_be_nobodys_are_not_found(home):
    for changed in (
        {"organization": "no such"},
        {"organization": "é"},
        {"project": "nothing"},
        {"env": "moon"},
        {"env": "preview~../x"},
        {"env": "prod~main"},
    ):
        for route, response in visits(home, alice(), **changed):
            if changed.keys() <= _parameters(route):
                assert response.status_code in (404, 405), (route, changed)


def test_alice_herself_gets_in(home):
    """Without this, a wrong sample would make every other test here pass."""
    for route, response in visits(home, alice()):
        if route.startswith("GET "):
            assert response.status_code in (200, 302, 405), route
        else:
            assert response.status_code not in (403, 404), route
            assert response.status_code < 500, route


def test_a_viewer_changes_nothing(home):
    viewer = person("dora")
    member(home.tenant.organization, viewer, Role.VIEWER)
    for route, response in visits(home, viewer):
        if route.startswith("POST ") and not route.endswith("/members/leaving"):
            assert response.status_code in (403, 404, 405), route


def _parameters(route: str) -> set[str]:
    return {name for name in ("organization", "project", "env") if f"%({name})s" in route}


def test_a_browser_looks_at_every_page():
    """Whoever adds a page adds it to `tests/browser/test_pages.py`, or says here what it is."""
    below = "/orgs/x/projects/x/env/x/"
    addresses = [*looked_at.PAGES.values(), *looked_at.OUTSIDE.values()]
    seen = {
        resolve(address if address.startswith("/") else below + address.partition("?")[0]).url_name
        for address in addresses
    }
    names = names_below(urls.urlpatterns) | names_below(entrance.urlpatterns)
    known = seen | PARTS | FILES | WALKED
    assert {name for name in names - known if not SENT_TO.search(name)} == set()
    assert known <= names, "what is not there any more"
