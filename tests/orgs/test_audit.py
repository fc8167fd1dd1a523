"""The audit log: who did what, newest first, for those who may read it."""

from datetime import timedelta

import pytest
from django.db import IntegrityError

from apps.core import clock
from apps.core.errors import Forbidden
from apps.core.ids import new_id
from apps.core.paging import CursorPage
from apps.orgs.audit import record
from apps.orgs.filters import AuditFilters
from apps.orgs.models import AuditEntry
from apps.orgs.operations.invites import invite_member
from apps.orgs.operations.members import change_role
from apps.orgs.queries import audit_page, list_audit_entries, names_of_people
from tests.factories import NOW, acme, alice, bob, charlie, globex, organization_as

pytestmark = pytest.mark.django_db


def test_an_entry_says_who_did_what_where():
    tenant = acme()
    record(
        tenant.scope.organization,
        action="queue.paused",
        target=("queue", "emails"),
        detail={"by": "hand"},
        now=NOW,
    )
    entry = AuditEntry.objects.order_by("-id")[0]
    assert entry.organization == tenant.organization
    assert entry.environment_id == tenant.production.id
    assert (entry.actor_kind, entry.actor_id) == ("key", tenant.scope.actor.id)
    assert (entry.action, entry.target_type, entry.target_id) == ("queue.paused", "queue", "emails")
    assert (entry.detail, entry.at) == ({"by": "hand"}, NOW)


def test_the_log_is_read_by_pages_newest_first():
    within = organization_as(acme(), alice())
    for number in range(5):
        record(within, action=f"test.{number}", target=("test", number), now=NOW)
    first = list_audit_entries(within, limit=2)
    assert [entry.action for entry in first] == ["test.4", "test.3"]
    second = list_audit_entries(within, before=first[-1].id, limit=2)
    assert [entry.action for entry in second] == ["test.2", "test.1"]


def test_a_developer_does_not_read_the_log():
    with pytest.raises(Forbidden):
        list_audit_entries(organization_as(acme(), bob()))


def test_charlie_reads_only_his_own_log():
    acme()
    his = list_audit_entries(organization_as(globex(), charlie()))
    assert {entry.organization.name for entry in his} == {"Globex"}


def test_an_actor_is_of_a_known_kind():
    with pytest.raises(IntegrityError, match="audit_entry_actor_kind_is_known"):
        AuditEntry.objects.create(
            organization=acme().organization,
            actor_kind="ghost",
            action="x",
            target_type="x",
            target_id="x",
            at=NOW,
        )


def test_the_log_is_filtered_by_what_by_whom_and_by_when():
    within = organization_as(acme(), alice())
    first = clock.now()
    invite_member(within, email="dora@example.com", role="viewer", now=NOW)
    change_role(within, user_id=bob().id, role="viewer", now=NOW)

    def actions(**filters):
        page = audit_page(within, AuditFilters(**filters), CursorPage())
        return [entry.action for entry in page.items]

    assert actions(about="invite") == ["invite.created"]
    assert actions(actor_id=bob().id) == []
    assert actions(since=first)[:2] == ["member.role_changed", "invite.created"]
    assert actions(since=first + timedelta(hours=1)) == []
    assert actions(until=first - timedelta(days=1)) == []


def test_the_log_has_pages():
    within = organization_as(acme(), alice())
    for number in range(3):
        invite_member(within, email=f"d{number}@example.com", role="viewer", now=NOW)
    one = audit_page(within, AuditFilters(about="invite"), CursorPage(size=2))
    two = audit_page(within, AuditFilters(about="invite"), CursorPage(size=2, after=one.next))
    assert (len(one.items), len(two.items), two.next) == (2, 1, None)
    back = audit_page(within, AuditFilters(about="invite"), CursorPage(size=2, before=two.previous))
    assert back.items == one.items


def test_people_are_named_also_when_they_have_left():
    assert names_of_people([alice().id, new_id()]) == {alice().id: "Alice"}
