"""Steps of durable tasks in the transactions of a Django project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction


class Connection:
    """Django's own connection, with what a step with ``transaction=`` is given.

    Attributes:
        alias: The alias of the database.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def transaction(self) -> AbstractContextManager[None]:
        """What Django calls atomic; one that ends with a commit."""
        return transaction.atomic(using=self.alias, durable=True)

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Execute a statement; returns its cursor."""
        cursor = connections[self.alias].cursor()
        cursor.execute(statement, parameters)
        return cursor


@contextmanager
def database(using: str = DEFAULT_DB_ALIAS) -> Iterator[Connection]:
    """The project's database, for `step_sync(function, …, transaction=database)`.

    The step is executed inside of ``transaction.atomic``: what its function does with models is
    committed together with the record of the step, exactly once. The function has to be a plain
    one, and gets a `Connection` as its first argument. The table ``holdfast_steps`` is made by
    the migrations of ``holdfast.django``.

    Args:
        using: The alias of a database; `functools.partial(database, "other")` names another one.
    """
    try:
        yield Connection(using)
    finally:  # steps are executed in threads, where nobody else closes it
        connections[using].close()
