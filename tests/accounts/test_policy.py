"""Rules of accounts that need no database."""

from datetime import timedelta

import pytest

from apps.accounts import policy
from tests.factories import NOW


@pytest.mark.parametrize(
    ("text", "kept"),
    [(" my \n laptop ", "my laptop"), ("a\0b", "ab"), ("\ud800🦊", "🦊"), ("", "")],
)
def test_a_label_is_one_line_without_control_characters(text, kept):
    assert policy.label(text) == kept


def test_a_hint_shows_no_more_than_prefix_and_end():
    assert policy.hint("tr_pat_0123456789", prefix="tr_pat_") == "tr_pat_…6789"


@pytest.mark.parametrize(
    ("used", "stale"), [(None, True), (0, False), (59, False), (60, True), (3_600, True)]
)
def test_use_is_worth_noting_after_a_minute(used, stale):
    used_at = None if used is None else NOW - timedelta(seconds=used)
    assert policy.use_is_stale(used_at, now=NOW) is stale


def test_no_challenge_asks_for_no_verifier():
    assert policy.verifier_matches("", None)


def test_the_example_of_rfc_7636_matches():
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert policy.verifier_matches(challenge, verifier)
    assert not policy.verifier_matches(challenge, verifier[:-1])
    assert not policy.verifier_matches(challenge, None)
