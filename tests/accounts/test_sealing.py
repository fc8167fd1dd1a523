"""Secrets of second factors are sealed, and follow when the keys are rotated."""

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator

from apps.accounts.operations.sealing import reseal_factors, seal_factor, unseal_factor
from tests.factories import alice

pytestmark = pytest.mark.django_db


def test_what_allauth_keeps_is_sealed():
    kept = get_adapter().encrypt("JBSWY3DPEHPK3PXP")
    assert "JBSWY3DPEHPK3PXP" not in kept
    assert get_adapter().decrypt(kept) == "JBSWY3DPEHPK3PXP"


def test_after_a_rotation_the_older_key_is_not_needed(settings):
    settings.SEALING_KEYS = ["old"]
    app = Authenticator.objects.create(
        user=alice(), type="totp", data={"secret": seal_factor("app's secret")}
    )
    codes = Authenticator.objects.create(
        user=alice(), type="recovery_codes", data={"seed": seal_factor("a seed"), "used_mask": 3}
    )
    settings.SEALING_KEYS = ["new", "old"]
    assert reseal_factors() == 2
    assert reseal_factors() == 0
    settings.SEALING_KEYS = ["new"]
    app.refresh_from_db()
    codes.refresh_from_db()
    assert unseal_factor(app.data["secret"]) == "app's secret"
    assert unseal_factor(codes.data["seed"]) == "a seed"
    assert codes.data["used_mask"] == 3
