"""The bell rings when more may start than before."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.core import bell
from apps.deployments.models import Queue
from apps.deployments.operations.queues import override_limits, pause_queue, resume_queue
from apps.environments.operations.life import (
    change_limits,
    pause_environment,
    resume_environment,
)
from apps.orgs.roles import Role
from tests import factories
from tests.runs.engine import NOW

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rings():
    """The environments that are rung for."""
    heard = []

    def hear(ring):
        if ring["kind"] == "ready":
            heard.append(ring["environment"])

    with bell.heard_near(hear):
        yield heard


@pytest.fixture
def owner(acme):
    return factories.user_scope(acme.production, acme.owner, Role.OWNER)


def test_it_rings_for_an_environment_that_is_resumed(acme, owner, rings):
    pause_environment(owner, now=NOW)
    rings.clear()
    resume_environment(owner, now=NOW)
    assert rings == [str(acme.production.pk)]
    resume_environment(owner, now=NOW)
    assert len(rings) == 1


def test_it_rings_for_a_queue_that_is_resumed_or_may_do_more(acme, rings):
    Queue.objects.create(environment=acme.production, name="q", created_at=NOW)
    pause_queue(acme.scope, name="q", now=NOW)
    rings.clear()
    resume_queue(acme.scope, name="q", now=NOW)
    assert rings == [str(acme.production.pk)]
    override_limits(acme.scope, name="q", per_key=7, now=NOW)
    assert len(rings) == 2


def test_it_rings_when_more_may_execute_at_once(acme, owner, rings):
    change_limits(owner, concurrency_limit=7, now=NOW)
    change_limits(owner, concurrency_limit=7, weight=2.0, now=NOW)
    assert rings == [str(acme.production.pk)]


def test_it_rings_when_the_staff_change_limits(acme, rings):
    staff = factories.person("root")
    staff.is_staff = staff.is_superuser = True
    staff.save()
    browser = Client()
    browser.force_login(staff)
    url = reverse("admin:environments_environment_change", args=[acme.production.pk])
    answer = browser.post(url, {"concurrency_limit": 8, "burst_factor": 1, "weight": 1})
    assert (answer.status_code, rings) == (302, [str(acme.production.pk)])

    organization = acme.organization
    url = reverse("admin:orgs_organization_change", args=[organization.pk])
    members = {f"memberships-{name}_FORMS": 0 for name in ("TOTAL", "INITIAL")}
    fields = {"name": organization.name, "slug": organization.slug, "weight": 1}
    answer = browser.post(url, fields | members | {"concurrency_limit": 9})
    assert (answer.status_code, rings[1:]) == (302, [None])
