"""Acme's pages, as people of all roles see them; the domain behind is the real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.orgs.roles import Role
from tests import factories
from tests.runs.engine import version


@pytest.fixture
def acme(db) -> factories.Tenant:
    return factories.acme()


@pytest.fixture
def shipped(acme):
    """A version with two tasks is current in production."""
    return version(acme.production, "hello", "resize")


@pytest.fixture
def visit(acme) -> Callable[..., Client]:
    """A browser without scripts, in which somebody is signed in: alice unless said otherwise."""

    def as_somebody(user: User | None = None) -> Client:
        client = Client()
        client.force_login(user or factories.alice())
        return client

    return as_somebody


@pytest.fixture
def viewer(acme) -> User:
    dora = factories.person("dora")
    factories.member(acme.organization, dora, Role.VIEWER)
    return dora
