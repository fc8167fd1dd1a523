"""Secrets of second factors: sealed as text, and moved to the newest of SEALING_KEYS."""

from __future__ import annotations

import base64
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction

from apps.core.crypto import is_sealed_with_newest_key, seal, unseal

_CONTEXT = "second-factor"
_SECRETS = ("secret", "seed")  # of an authenticator app, and of recovery codes
_LISTS = ("migrated_codes",)


def seal_factor(text: str) -> str:
    """A secret as it is kept."""
    return base64.b64encode(seal(text, context=_CONTEXT)).decode()


def unseal_factor(sealed: str) -> str:
    """A secret that was kept; raises SealError."""
    return unseal(base64.b64decode(sealed), context=_CONTEXT)


def reseal_factors() -> int:
    """Seal anew what an older key sealed; return how many second factors that were."""
    ids = list(Authenticator.objects.order_by("pk").values_list("pk", flat=True))
    return sum(_reseal(pk) for pk in ids)


@transaction.atomic
def _reseal(pk: int) -> bool:
    factor = Authenticator.objects.select_for_update().filter(pk=pk).first()
    if factor is None:
        return False
    before = factor.data
    factor.data = {name: _moved(name, value) for name, value in before.items()}
    if factor.data == before:
        return False
    factor.save(update_fields=["data"])
    return True


def _moved(name: str, value: Any) -> Any:
    if name in _LISTS:
        return [_sealed_anew(each) for each in value]
    return _sealed_anew(value) if name in _SECRETS else value


def _sealed_anew(sealed: str) -> str:
    if is_sealed_with_newest_key(base64.b64decode(sealed)):
        return sealed
    return seal_factor(unseal_factor(sealed))
