"""`manage.py seed` makes the demo organization once, and prints how to reach it."""

import io
import json

import pytest
from django.core.management import call_command

from apps.accounts.models import User
from apps.accounts.operations.tokens import resolve_token
from apps.core import clock
from apps.environments.credentials import resolve_key
from apps.environments.models import Environment
from apps.orgs.models import Organization

pytestmark = pytest.mark.django_db


def seed(*options: str) -> str:
    out = io.StringIO()
    call_command("seed", *options, stdout=out)
    return out.getvalue()


def test_it_prints_keys_that_work():
    found = json.loads(seed("--json"))
    assert set(found["environments"]) == {"prod", "staging", "preview", "dev"}
    for environment in found["environments"].values():
        scope = resolve_key(environment["key"], now=clock.now())
        assert Environment.objects.get(pk=scope.environment_id).public_id == environment["id"]
    assert found["project"]["ref"].startswith("proj_")
    assert found["token"] is None


def test_repeating_it_makes_nothing_new():
    assert json.loads(seed("--json")) == json.loads(seed("--json"))
    assert Organization.objects.count() == 1
    assert Environment.objects.count() == 4


def test_a_token_is_made_when_asked_for():
    token = json.loads(seed("--json", "--token"))["token"]
    assert resolve_token(token, now=clock.now()).email == "demo@holdfast.local"


def test_nobody_signs_in_as_the_demo_person_without_a_password():
    seed()
    assert not User.objects.get().has_usable_password()


def test_without_json_it_speaks_to_people():
    said = seed("--token")
    assert "demo@holdfast.local owns Demo" in said
    assert "  prod     tr_prod_" in said
    assert "personal token (shown once): tr_pat_" in said
