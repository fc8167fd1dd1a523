"""From our rows to the adapters of apps.providers: the workspace, and the provider of a pool."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.storage import default_storage

from apps.deployments.models import Pool
from apps.providers.errors import ProviderError
from apps.providers.process import ProcessProvider
from apps.providers.protocol import Bundle, Provider
from apps.providers.workspace import Workspace


def bundle_of(*, archive: str, sha256: str, python_version: str) -> Bundle:
    """A shipped archive, as providers take it."""
    return Bundle(
        key=sha256,
        open=lambda: cast(BinaryIO, default_storage.open(archive, "rb")),
        python_version=python_version,
    )


def workspace() -> Workspace:
    """Where this machine unpacks versions and keeps their environments."""
    return _workspace(Path(settings.HOLDFAST_HOME))


def provider_of(pool: Pool) -> Provider:
    """The adapter that a pool names; raises ProviderError for one that does not exist."""
    if pool.provider != "process":
        raise ProviderError(f"There is no provider {pool.provider!r}", permanent=True)
    return process_provider(pool.name)


def process_provider(pool_name: str) -> ProcessProvider:
    """The workers of this machine in one pool."""
    return ProcessProvider(Path(settings.HOLDFAST_HOME), pool=pool_name, workspace=workspace())


@cache
def _workspace(home: Path) -> Workspace:
    source = Path(settings.BASE_DIR) / "packages" / "holdfast"
    return Workspace(home, sdk=source if source.is_dir() else None)
