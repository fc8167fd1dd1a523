"""Pure decisions about versions and deployments: numbers, names, limits of time and size."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

ARCHIVE_BYTES = 256 * 1024 * 1024
LOG_CHARACTERS = 256 * 1024
INDEX_SECONDS = 120
UPLOAD_LIMIT = timedelta(hours=24)
BUILD_LIMIT = timedelta(minutes=30)
# How long a build may go unclaimed before its job counts as lost.
BUILD_PATIENCE = timedelta(seconds=20)

_CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_CODE_LENGTH = 8


def next_number(taken: Iterable[str], *, now: datetime) -> str:
    """The next version number of this day, such as ``20261124.3``."""
    day = now.strftime("%Y%m%d")
    counts = [number.partition(".")[2] for number in taken if number.startswith(f"{day}.")]
    return f"{day}.{max((int(count) for count in counts if count.isdecimal()), default=0) + 1}"


def new_short_code() -> str:
    """A name for a deployment that people can say."""
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))


def archive_name(environment_id: UUID, deployment_id: UUID) -> str:
    """Where object storage keeps a deployment's archive."""
    return f"archives/{environment_id}/{deployment_id}.tar.gz"
