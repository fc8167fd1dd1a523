"""`manage.py sign_in_link`: a way in for whoever runs the server."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.operations.links import use_link
from apps.core import clock
from tests.factories import alice

pytestmark = pytest.mark.django_db


def test_it_prints_a_link_that_leads_somewhere():
    someone, output = alice(), StringIO()
    call_command("sign_in_link", "Alice@Example.com", "--next", "/account", stdout=output)
    entered = use_link(token=output.getvalue().strip().rpartition("/")[2], now=clock.now())
    assert (entered.user, entered.next_path) == (someone, "/account")


@pytest.mark.parametrize("words", [["nobody@example.com"], ["alice@example.com", "--minutes", "0"]])
def test_it_says_what_is_wrong(words):
    alice()
    with pytest.raises(CommandError):
        call_command("sign_in_link", *words)
