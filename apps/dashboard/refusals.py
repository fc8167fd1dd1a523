"""Refusals of operations as errors of the form that asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.forms import BaseForm

from apps.core.errors import DomainError, NotFound


@contextmanager
def refusals(form: BaseForm) -> Iterator[None]:
    """Show on `form` why the operation in this block refused; NotFound stays what it is."""
    try:
        yield
    except NotFound:
        raise
    except DomainError as error:
        named = [name for name in error.detail if name in form.fields]
        form.add_error(named[0] if named else None, error.message)
