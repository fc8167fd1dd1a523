"""Rotating SEALING_KEYS: put a new one in front, reseal, take the old one out."""

import io

import pytest
from django.core.management import call_command

from apps.core.crypto import SealError, is_sealed_with_newest_key
from apps.environments.credentials import forget, signing_keys
from apps.environments.models import EnvironmentKey, Variable
from apps.environments.operations import sealing
from apps.environments.operations.sealing import reseal
from apps.environments.operations.variables import import_variables
from apps.environments.queries import runtime_variables
from apps.orgs.operations.invites import invite_member, send_invite
from tests.factories import NOW, acme, alice, organization_as

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(settings):
    settings.SEALING_KEYS = ["old"]
    tenant = acme()
    import_variables(tenant.scope, variables={"A": "1", "B": "2", "C": "3"}, now=NOW)
    return tenant


def test_after_resealing_the_old_key_can_go(tenant, settings):
    invite = invite_member(
        organization_as(tenant, alice()), email="dora@example.com", role="viewer", now=NOW
    )
    settings.SEALING_KEYS = ["new", "old"]
    assert reseal() == EnvironmentKey.objects.count() + 3 + 1
    settings.SEALING_KEYS = ["new"]
    forget()
    assert runtime_variables(tenant.production) == {"A": "1", "B": "2", "C": "3"}
    assert signing_keys(tenant.production.id, now=NOW) == [tenant.secret]
    assert send_invite(invite_id=invite.invite_id, now=NOW)


def test_before_resealing_both_keys_are_needed(tenant, settings):
    settings.SEALING_KEYS = ["new", "old"]
    assert runtime_variables(tenant.production)["A"] == "1"
    settings.SEALING_KEYS = ["new"]
    with pytest.raises(SealError, match="not in SEALING_KEYS any more"):
        runtime_variables(tenant.production)


def test_resealing_again_does_nothing(tenant, settings):
    settings.SEALING_KEYS = ["new", "old"]
    reseal()
    assert reseal() == 0


def test_every_batch_is_reached(tenant, settings, monkeypatch):
    monkeypatch.setattr(sealing, "_AT_ONCE", 2)
    settings.SEALING_KEYS = ["new", "old"]
    reseal()
    assert all(is_sealed_with_newest_key(variable.sealed) for variable in Variable.objects.all())


def test_the_command_says_how_many(tenant, settings):
    settings.SEALING_KEYS = ["new", "old"]
    out = io.StringIO()
    call_command("reseal", stdout=out)
    assert out.getvalue() == "7 values sealed anew; older SEALING_KEYS can be removed now.\n"
