"""Moving every sealed value to the newest of SEALING_KEYS, so that an older one can be removed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.operations.sealing import reseal_factors
from apps.core.crypto import is_sealed_with_newest_key, seal, unseal
from apps.environments.models import EnvironmentKey, Variable
from apps.orgs.models import Invite

_AT_ONCE = 200


def reseal() -> int:
    """Seal anew what an older key sealed; return how many values that were.

    Commits in batches, so it may be stopped and started again while others read and write.
    """
    tables: tuple[QuerySet[Any], ...] = (
        EnvironmentKey.objects.all(),
        Variable.objects.all(),
        Invite.objects.all(),
    )
    return sum(_reseal_table(table) for table in tables) + reseal_factors()


def _reseal_table(table: QuerySet[Any]) -> int:
    done, latest = 0, UUID(int=0)
    while batch := _batch(table, after=latest):
        latest = batch[-1]
        done += _reseal_rows(table, batch)
    return done


def _batch(table: QuerySet[Any], *, after: UUID) -> list[UUID]:
    rows = table.filter(id__gt=after).order_by("id")
    return list(rows.values_list("id", flat=True)[:_AT_ONCE])


@transaction.atomic
def _reseal_rows(table: QuerySet[Any], ids: list[UUID]) -> int:
    done = 0
    for row in table.filter(id__in=ids).order_by("id").select_for_update():
        if not is_sealed_with_newest_key(row.sealed):
            context = row.seal_context
            row.sealed = seal(unseal(row.sealed, context=context), context=context)
            row.save(update_fields=["sealed"])
            done += 1
    return done
