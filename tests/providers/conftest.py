"""One workspace for all: its base environment is made once per test session."""

import pytest

from tests.providers.home import sdk_of, shared_home, shared_workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    return shared_workspace(tmp_path_factory)


@pytest.fixture(scope="session")
def sdk(tmp_path_factory):
    return sdk_of(shared_home(tmp_path_factory))
