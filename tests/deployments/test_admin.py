"""The admin: every page opens, searches and filters, without a query per row."""

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.accounts.models import User
from apps.core.ids import new_id
from apps.deployments.models import Instance, Pool, WorkerSession
from apps.deployments.operations.shipping import create_deployment
from apps.deployments.operations.versions import promote_version, register_version
from tests.deployments.manifests import manifest
from tests.factories import NOW, acme

pytestmark = pytest.mark.django_db

PAGES = [
    "deployment",
    "version",
    "promotion",
    "queue",
    "pool",
    "instance",
    "workersession",
]


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("root@example.com", "correct horse"))
    return client


def fill(count):
    scope = acme().scope
    pool, _ = Pool.objects.get_or_create(
        name="local", defaults={"provider": "process", "created_at": NOW}
    )
    for number in range(count):
        version = register_version(scope, manifest=manifest(f"t{number}", "common"), now=NOW)
        promote_version(scope, number=version.number, now=NOW)
        create_deployment(scope, now=NOW)
        fields = {"environment": acme().production, "version": version, "machine": "small-1x"}
        instance = Instance.objects.create(pool=pool, created_at=NOW, **fields)
        WorkerSession.objects.create(
            id=new_id(),
            instance_id=instance.id,
            capacity=1,
            coordinator=new_id(),
            connected_at=NOW,
            seen_at=NOW,
            **fields,
        )


def queries_of(staff, url):
    with CaptureQueriesContext(connection) as captured:
        assert staff.get(url).status_code == 200
    return len(captured)


@pytest.mark.parametrize("page", PAGES)
def test_a_list_asks_no_more_for_more_rows(staff, page):
    url = reverse(f"admin:deployments_{page}_changelist")
    fill(2)
    staff.get(url)
    few = queries_of(staff, url)
    fill(6)
    assert queries_of(staff, url) == few


@pytest.mark.parametrize("page", PAGES)
def test_a_list_can_be_searched(staff, page):
    fill(1)
    url = reverse(f"admin:deployments_{page}_changelist")
    assert staff.get(url, {"q": "shop"}).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_row_can_be_looked_at(staff, page):
    fill(1)
    model = {cls.__name__.lower(): cls for cls in _registered()}[page]
    row = model.objects.latest("pk")
    assert staff.get(reverse(f"admin:deployments_{page}_change", args=[row.pk])).status_code == 200


def _registered():
    return [model for model in admin.site._registry if model._meta.app_label == "deployments"]


def test_what_happened_cannot_be_changed(staff):
    fill(1)
    for page in PAGES:
        if page != "pool":
            url = reverse(f"admin:deployments_{page}_add")
            assert staff.get(url).status_code == 403, page


def test_a_pools_settings_can_be_changed_but_not_its_name(staff):
    fill(1)
    pool = Pool.objects.get(name="local")
    url = reverse("admin:deployments_pool_change", args=[pool.pk])
    staff.post(url, {"settings": '{"max_workers": 3}', "name": "other"})
    pool.refresh_from_db()
    assert (pool.name, pool.settings) == ("local", {"max_workers": 3})
