"""Invites go out by mail, and are accepted once, by the person they are for."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.core import mail
from django.db import IntegrityError
from django_celery_beat.models import PeriodicTask

from apps.core import facts
from apps.core.crypto import new_token
from apps.core.errors import AlreadyExists, Forbidden, Invalid, NotFound
from apps.orgs import jobs, policy
from apps.orgs.errors import InviteUnusable
from apps.orgs.facts import InviteCreated
from apps.orgs.models import AuditEntry, Invite, Membership
from apps.orgs.operations.invites import accept_invite, invite_member, revoke_invite, send_invite
from apps.orgs.operations.members import remove_member
from apps.orgs.queries import list_invites, unsent_invites
from apps.orgs.roles import Role
from tests.factories import (
    NOW,
    acme,
    alice,
    bob,
    charlie,
    globex,
    member,
    organization_as,
    person,
)

pytestmark = pytest.mark.django_db

DORA = "dora@example.com"


def invited(role: str = "developer", email: str = DORA):
    return invite_member(organization_as(acme(), alice()), email=email, role=role, now=NOW)


def test_an_accepted_invite_makes_a_member_with_its_role():
    made = accept_invite(person("dora"), token=invited().token, now=NOW)
    assert (made.organization, made.role) == (acme().organization, Role.DEVELOPER)
    actions = AuditEntry.objects.order_by("id").values_list("action", "actor_id")
    assert list(actions)[-2:] == [
        ("invite.created", alice().id),
        ("member.joined", person("dora").id),
    ]


def test_an_invite_is_accepted_once():
    token = invited().token
    accept_invite(person("dora"), token=token, now=NOW)
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=token, now=NOW)


def test_case_of_the_address_does_not_matter():
    accept_invite(person("dora"), token=invited(email=" DORA@Example.com").token, now=NOW)


def test_charlie_cannot_accept_an_invite_for_dora():
    token = invited().token
    with pytest.raises(Forbidden, match="another e-mail address"):
        accept_invite(charlie(), token=token, now=NOW)
    accept_invite(person("dora"), token=token, now=NOW)


@pytest.mark.parametrize("token", ["", "tr_invite_unknown", "\0"])
def test_an_unknown_token_is_unusable(token):
    invited()
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=token, now=NOW)


def test_an_invite_expires_after_a_week():
    token = invited().token
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=token, now=NOW + timedelta(days=7))


def test_a_revoked_invite_is_unusable():
    made = invited()
    within = organization_as(acme(), alice())
    revoke_invite(within, invite_id=made.invite_id, now=NOW)
    revoke_invite(within, invite_id=made.invite_id, now=NOW)
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=made.token, now=NOW)
    assert AuditEntry.objects.filter(action="invite.revoked").count() == 1


def test_an_accepted_invite_cannot_be_revoked():
    made = invited()
    accept_invite(person("dora"), token=made.token, now=NOW)
    with pytest.raises(InviteUnusable, match="remove the member"):
        revoke_invite(organization_as(acme(), alice()), invite_id=made.invite_id, now=NOW)


def test_charlie_can_neither_see_nor_revoke_an_invite_of_alice():
    made = invited()
    his = organization_as(globex(), charlie())
    assert list_invites(his, now=NOW) == []
    with pytest.raises(NotFound):
        revoke_invite(his, invite_id=made.invite_id, now=NOW)


def test_inviting_again_renews_the_invite_and_ends_the_older_token():
    older = invited("viewer")
    newer = invited("admin")
    assert older.invite_id == newer.invite_id
    with pytest.raises(InviteUnusable):
        accept_invite(person("dora"), token=older.token, now=NOW)
    assert accept_invite(person("dora"), token=newer.token, now=NOW).role == Role.ADMIN


def test_somebody_removed_can_be_invited_again():
    accept_invite(person("dora"), token=invited().token, now=NOW)
    remove_member(organization_as(acme(), alice()), user_id=person("dora").id, now=NOW)
    accept_invite(person("dora"), token=invited("viewer").token, now=NOW)
    assert Membership.objects.get(user=person("dora")).role == Role.VIEWER


def test_a_member_is_not_invited_again():
    with pytest.raises(AlreadyExists):
        invited(email="BOB@example.com")


def test_accepting_while_already_a_member_keeps_the_role():
    token = invited("viewer").token
    member(acme().organization, person("dora"), Role.ADMIN)
    assert accept_invite(person("dora"), token=token, now=NOW).role == Role.ADMIN


@pytest.mark.parametrize("email", ["", "dora", "dora@", "a@b\nc.de", "x" * 300 + "@example.com"])
def test_a_malformed_address_is_refused(email):
    with pytest.raises(Invalid):
        invited(email=email)


def test_a_developer_invites_nobody():
    with pytest.raises(Forbidden):
        invite_member(organization_as(acme(), bob()), email=DORA, role="viewer", now=NOW)


def test_an_admin_invites_no_owner():
    admin = person("erin")
    member(acme().organization, admin, Role.ADMIN)
    within = organization_as(acme(), admin)
    with pytest.raises(Forbidden, match="above your own"):
        invite_member(within, email=DORA, role="owner", now=NOW)
    invite_member(within, email=DORA, role="admin", now=NOW)


def test_the_mail_has_a_link_that_works(settings):
    made = invited()
    assert send_invite(invite_id=made.invite_id, now=NOW)
    (letter,) = mail.outbox
    assert letter.to == [DORA]
    assert letter.subject == "Join Acme on Holdfast"
    assert f"{settings.SERVER_URL}/invites/{made.token}" in letter.body
    assert "01 December 2026, 12:00 UTC" in letter.body


def test_an_invite_is_mailed_once():
    made = invited()
    assert send_invite(invite_id=made.invite_id, now=NOW)
    assert not send_invite(invite_id=made.invite_id, now=NOW)
    assert len(mail.outbox) == 1


def test_a_renewed_invite_is_mailed_again():
    send_invite(invite_id=invited().invite_id, now=NOW)
    send_invite(invite_id=invited().invite_id, now=NOW)
    assert len(mail.outbox) == 2


def test_a_revoked_or_expired_invite_is_not_mailed():
    made = invited()
    assert not send_invite(invite_id=made.invite_id, now=NOW + policy.INVITE_LIFETIME)
    revoke_invite(organization_as(acme(), alice()), invite_id=made.invite_id, now=NOW)
    assert not send_invite(invite_id=made.invite_id, now=NOW)
    assert mail.outbox == []


def test_the_job_sends_what_it_is_given(monkeypatch):
    made = invited()
    monkeypatch.setattr("apps.core.clock.now", lambda: NOW)
    jobs.send_invite(str(made.invite_id))
    assert len(mail.outbox) == 1


def test_an_invite_is_announced_after_its_commit(django_capture_on_commit_callbacks):
    heard: list[InviteCreated] = []
    before = dict(facts._listeners)
    facts.install({InviteCreated: (heard.append,)})
    try:
        with django_capture_on_commit_callbacks(execute=True):
            made = invited()
            assert heard == []
    finally:
        facts.install(before)
    assert heard == [InviteCreated(invite_id=made.invite_id, at=NOW)]


def test_what_a_lost_message_left_is_found():
    made = invited()
    late = NOW + timedelta(minutes=3)
    assert unsent_invites(before=NOW + timedelta(minutes=1), now=late) == [made.invite_id]
    assert unsent_invites(before=NOW, now=late) == []
    send_invite(invite_id=made.invite_id, now=NOW)
    assert unsent_invites(before=NOW + timedelta(minutes=1), now=late) == []


def test_the_sweep_hands_over_what_it_finds(monkeypatch):
    made = invited()
    handed: list[str] = []
    monkeypatch.setattr("apps.core.clock.now", lambda: NOW + timedelta(minutes=3))
    monkeypatch.setattr(jobs.send_invite, "delay", handed.append)
    jobs.send_forgotten_invites()
    assert handed == [str(made.invite_id)]


def test_the_sweep_is_scheduled():
    # what the migration wrote is gone after any test that commits
    import_module("apps.orgs.migrations.0002_forgotten_invites").create(apps, None)
    scheduled = PeriodicTask.objects.get(name="Mail forgotten invites")
    assert scheduled.task == jobs.send_forgotten_invites.name


def test_the_token_is_kept_only_sealed():
    made = invited()
    kept = Invite.objects.values().get()
    assert made.token not in str(kept)
    assert made.token.encode() not in bytes(kept["sealed"])


def test_an_address_has_one_pending_invite():
    invited()
    with pytest.raises(IntegrityError, match="invite_is_pending_once_per_address"):
        Invite.objects.create(
            organization=acme().organization,
            email=DORA.upper(),
            role=Role.VIEWER,
            digest=new_token("").encode(),
            sealed=b"",
            created_at=NOW,
            expires_at=NOW,
        )
