"""Triggering runs from a Django project, inside of its own transactions.

    from holdfast.django import enqueue

    with transaction.atomic():
        order = Order.objects.create(…)
        enqueue("ship", {"order": order.pk})                # after the commit, or not at all
        enqueue("invoice", {"order": order.pk}, outbox=True)  # exactly once, whatever fails

Steps of a durable task commit in the project's own transactions, too:

    step_sync(book, order.pk, transaction=database)  # `book` may use models

The only part of the SDK that imports Django. For the outbox, add ``holdfast.django`` to
``INSTALLED_APPS``, migrate, and keep ``manage.py holdfast_relay`` running.

Settings, all optional: ``HOLDFAST_API_URL``, ``HOLDFAST_SECRET_KEY`` (otherwise the environment
variables of the same names count), and ``HOLDFAST_OUTBOX`` (True makes the outbox the default).
"""

from __future__ import annotations

from holdfast.django.enqueueing import enqueue
from holdfast.django.steps import database

__all__ = ["database", "enqueue"]
