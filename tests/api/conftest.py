"""Callers of the API: acme's key, globex's key, people, and nobody."""

from __future__ import annotations

import pytest

from tests import factories
from tests.api.client import Api
from tests.factories import Tenant


@pytest.fixture
def acme(db) -> Tenant:
    return factories.acme()


@pytest.fixture
def api(acme: Tenant) -> Api:
    """Acme's production, by its key."""
    return Api(acme.secret)


@pytest.fixture
def charlie(db) -> Api:
    """Globex's production, by its key: charlie must never see anything of Acme."""
    return Api(factories.globex().secret)


@pytest.fixture
def alice(acme: Tenant) -> Api:
    """Alice, by a personal token."""
    return Api(factories.personal_token(factories.alice()))


@pytest.fixture
def charlie_in_person(db) -> Api:
    """Charlie, by a personal token."""
    return Api(factories.personal_token(factories.globex().owner))


@pytest.fixture
def nobody(db) -> Api:
    """Without any credential."""
    return Api(None)
