"""One thread with one database connection, so that a turn costs no set-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

P = ParamSpec("P")
T = TypeVar("T")

# SQLSTATE classes: connection, resources, operator; a canceled statement is the statement's fault
_OUTAGES = ("08", "53", "57")
_CANCELED = "57014"


class Outage(Exception):
    """PostgreSQL is away; what was asked of it has not been done, or was not heard to be"""


class DatabaseThread:
    """Runs operations one after the other on its own thread.

    A connection that has broken unnoticed, as by a restart of PostgreSQL, is renewed and the
    operation done again: whatever runs here may be repeated.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation; raises Outage, or what the operation raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, lambda: _fresh(operation, *args, **kwargs)
        )


def _fresh(operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return _once(operation, *args, **kwargs)
    except Outage:
        return _once(operation, *args, **kwargs)


def _once(operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return operation(*args, **kwargs)
    except (OperationalError, InterfaceError) as error:
        connection.close()
        if _is_outage(error):
            raise Outage(str(error)) from error
        raise


def _is_outage(error: Exception) -> bool:
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or (state.startswith(_OUTAGES) and state != _CANCELED)
