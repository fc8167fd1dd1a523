"""Links to sign in with: mailed to whoever asks, used once, telling nothing to anybody else."""

from datetime import timedelta
from importlib import import_module

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.core import mail
from django_celery_beat.models import PeriodicTask

from apps.accounts import jobs, policy
from apps.accounts.errors import Inactive, LinkUnusable, SignUpClosed
from apps.accounts.facts import SignInLinkCreated
from apps.accounts.models import SignInLink, User
from apps.accounts.operations.links import (
    Asking,
    SignedIn,
    is_same_browser,
    one_time_link,
    request_link,
    send_link,
    use_link,
)
from apps.accounts.queries import addresses_of, open_link, unsent_links
from apps.core import facts
from apps.core.crypto import unseal
from apps.core.errors import Invalid
from tests.factories import NOW, alice, bob, person

pytestmark = pytest.mark.django_db

ALICE = "alice@example.com"
DORA = "dora@example.com"


def asked(email: str = ALICE, *, may_sign_up: bool = False, now=NOW, next_path: str = ""):
    asking = Asking(browser="a browser's secret", user_agent="Firefox", ip="192.0.2.7")
    return request_link(
        email=email, asking=asking, may_sign_up=may_sign_up, next_path=next_path, now=now
    )


def token_of(link: SignInLink) -> str:
    return unseal(link.sealed, context=link.seal_context)


def entered(link: SignInLink, now=NOW):
    return use_link(token=token_of(link), now=now)


def test_a_link_signs_in_the_person_of_its_address():
    alices = alice()
    assert entered(asked()) == SignedIn(user=alices, is_new=False, next_path="")


def test_a_link_works_once():
    link = asked(may_sign_up=True)
    entered(link)
    with pytest.raises(LinkUnusable):
        entered(link)


def test_a_link_works_for_a_quarter_of_an_hour():
    alice()
    link = asked()
    with pytest.raises(LinkUnusable):
        entered(link, now=NOW + timedelta(minutes=15))
    assert entered(link, now=NOW + timedelta(minutes=15, microseconds=-1)).user == alice()


def test_older_links_end_when_one_is_used():
    alice()
    older, newer = asked(), asked()
    entered(newer)
    with pytest.raises(LinkUnusable):
        entered(older)


def test_an_unknown_token_is_refused():
    with pytest.raises(LinkUnusable):
        use_link(token="tr_link_nothing", now=NOW)


def test_whoever_may_sign_up_becomes_a_person():
    entry = entered(asked(" DORA@Example.com ", may_sign_up=True))
    assert (entry.user.email, entry.is_new) == (DORA, True)
    assert not entry.user.has_usable_password()


def test_whoever_may_not_sign_up_stays_outside():
    with pytest.raises(SignUpClosed):
        entered(asked(DORA))
    assert not User.objects.filter(email=DORA).exists()


def test_a_person_who_was_made_inactive_stays_outside():
    User.objects.filter(pk=alice().pk).update(is_active=False)
    link = asked()
    with pytest.raises(Inactive):
        entered(link)
    assert open_link(token_of(link), now=NOW) == link


def test_an_address_that_was_shown_otherwise_leads_to_its_person():
    EmailAddress.objects.create(user=bob(), email="bob@work.example", verified=True)
    assert entered(asked("bob@work.example")).user == bob()
    assert addresses_of(bob()) == {"bob@example.com", "bob@work.example"}


def test_an_address_that_was_only_claimed_leads_nowhere():
    EmailAddress.objects.create(user=bob(), email="bob@work.example", verified=False)
    with pytest.raises(SignUpClosed):
        entered(asked("bob@work.example"))


def test_using_a_link_shows_that_the_address_is_read():
    alice()
    entered(asked())
    entered(asked())
    address = EmailAddress.objects.get(user=alice())
    assert (address.email, address.verified, address.primary) == (ALICE, True, True)


@pytest.mark.parametrize("email", ["", "alice", "alice@", "a\0@b.com", "x" * 250 + "@example.com"])
def test_what_is_no_address_is_refused(email):
    with pytest.raises(Invalid):
        asked(email)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/orgs/acme/members?page=2", "/orgs/acme/members?page=2"),
        ("https://evil.example/", ""),
        ("//evil.example/", ""),
        ("/\\evil.example/", ""),
        ("javascript:alert(1)", ""),
        ("/a\nb", ""),
        ("/" + "x" * 500, ""),
    ],
)
def test_a_link_leads_only_within_this_server(path, kept):
    alice()
    assert entered(asked(next_path=path)).next_path == kept


def test_only_the_browser_that_asked_has_its_secret():
    link = asked()
    assert is_same_browser(link, "a browser's secret")
    assert not is_same_browser(link, "another's")
    assert not is_same_browser(link, "")


def test_asking_looks_the_same_for_every_address(django_assert_num_queries):
    alice()
    asked()  # what is made once
    for email in (ALICE, DORA):
        with django_assert_num_queries(4):
            asked(email)


def test_asking_has_it_mailed_after_the_commit(monkeypatch, django_capture_on_commit_callbacks):
    told = []
    facts.install({SignInLinkCreated: (told.append,)})
    try:
        with django_capture_on_commit_callbacks(execute=True):
            link = asked()
    finally:
        from config.reactions import REACTIONS

        facts.install(REACTIONS)
    assert told == [SignInLinkCreated(link_id=link.id, at=NOW)]


def test_the_letter_has_the_link_as_text_and_as_html(settings):
    alice()
    link = asked()
    assert send_link(link_id=link.id, now=NOW)
    (letter,) = mail.outbox
    url = f"{settings.SERVER_URL}/sign-in/link/{token_of(link)}"
    assert (letter.to, letter.subject) == ([ALICE], "Sign in to Holdfast")
    assert url in letter.body
    assert "192.0.2.7" in letter.body
    ((html, kind),) = letter.alternatives
    assert (kind, f'href="{url}"' in html) == ("text/html", True)


def test_the_letter_is_sent_once():
    link = asked()
    assert send_link(link_id=link.id, now=NOW)
    assert not send_link(link_id=link.id, now=NOW)


def test_a_new_person_is_welcomed():
    send_link(link_id=asked(DORA, may_sign_up=True).id, now=NOW)
    assert mail.outbox[0].subject == "Welcome to Holdfast"


def test_a_stranger_is_told_why_in_the_letter_without_a_link():
    link = asked(DORA)
    send_link(link_id=link.id, now=NOW)
    assert mail.outbox[0].subject == "There is no account for this address"
    assert token_of(link) not in mail.outbox[0].body + mail.outbox[0].alternatives[0][0]


def test_a_link_that_is_over_is_not_mailed():
    link = asked()
    assert not send_link(link_id=link.id, now=NOW + timedelta(minutes=15))


def test_a_forgotten_link_is_found():
    link = asked()
    later = NOW + timedelta(minutes=1)
    assert unsent_links(before=NOW, now=later) == []
    assert unsent_links(before=later, now=later) == [link.id]
    send_link(link_id=link.id, now=later)
    assert unsent_links(before=later, now=later) == []


def test_the_platform_looks_for_forgotten_links_every_minute():
    # what the migration wrote is gone after any test that commits
    import_module("apps.accounts.migrations.0003_forgotten_links").create(apps, None)
    job = PeriodicTask.objects.get(name="Mail forgotten sign-in links")
    assert job.task == jobs.send_forgotten_links.name
    assert (job.interval.every, job.interval.period) == (1, "minutes")


def test_whoever_runs_the_server_can_make_a_link(settings):
    url = one_time_link(alice(), now=NOW, next_path="/orgs/acme", lifetime=timedelta(hours=12))
    base, _, token = url.rpartition("/")
    assert base == f"{settings.SERVER_URL}/sign-in/link"
    entry = use_link(token=token, now=NOW + timedelta(hours=11))
    assert (entry.user, entry.next_path) == (alice(), "/orgs/acme")
    assert not mail.outbox
    assert unsent_links(before=NOW + timedelta(1), now=NOW) == []


def test_a_few_stale_links_are_swept_with_every_new_one():
    old = asked()
    asked(now=NOW + timedelta(days=1, minutes=16))
    assert not SignInLink.objects.filter(pk=old.pk).exists()


def test_links_live_as_long_as_is_said():
    assert timedelta(minutes=15) == policy.LINK_LIFETIME
    assert asked().expires_at == NOW + timedelta(minutes=15)
    assert person("erin").email not in str(asked())
