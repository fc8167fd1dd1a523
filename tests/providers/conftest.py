"""One workspace for all: its base environment is made once per test session."""

import pytest

from tests.providers.home import shared_workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    return shared_workspace(tmp_path_factory)
