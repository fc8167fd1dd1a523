"""Deployments on this machine: one home for all tests of a session, jobs called by hand."""

import pytest

from tests.providers.home import sdk_of, shared_home


@pytest.fixture(autouse=True)
def _home(settings, tmp_path, tmp_path_factory):
    """Versions and environments are cached for the session; archives are each test's own."""
    settings.HOLDFAST_HOME = settings.BASE_DIR = home = shared_home(tmp_path_factory)
    sdk_of(home)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "objects"},
        },
    }
