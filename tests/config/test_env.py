"""The readers of environment variables: everything that is wrong, at once."""

from pathlib import Path

import pytest

from config.env import ConfigurationError, Reader


def test_values_are_read_by_their_kind():
    reader = Reader(
        {
            "NAME": "alice",
            "ON": "Yes",
            "OFF": "0",
            "COUNT": "3",
            "RATIO": "0.5",
            "HOSTS": "a, b,,c",
            "FOLDER": "/srv/x",
            "PLACE": "redis://x/0",
        }
    )
    assert reader.text("NAME") == "alice"
    assert reader.flag("ON", default=False) is True
    assert reader.flag("OFF", default=True) is False
    assert reader.integer("COUNT", 1) == 3
    assert reader.number("RATIO", 1.0) == 0.5
    assert reader.words("HOSTS") == ["a", "b", "c"]
    assert reader.path("FOLDER", Path("/")) == Path("/srv/x")
    assert reader.url("PLACE", None, schemes=("redis",)) == "redis://x/0"
    reader.finish()


def test_what_is_not_set_has_its_default():
    reader = Reader({})
    assert reader.text("NAME", "bob") == "bob"
    assert reader.flag("ON", default=True) is True
    assert reader.integer("COUNT", 7) == 7
    assert reader.words("HOSTS", "x,y") == ["x", "y"]
    reader.finish()


def test_a_path_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/charlie")
    assert Reader({"P": "~/x"}).path("P", Path("/")) == Path("/home/charlie/x")


def test_every_problem_is_reported_at_once():
    reader = Reader(
        {"ON": "maybe", "COUNT": "three", "LOW": "-1", "RATIO": "x", "PLACE": "ftp://x"}
    )
    reader.text("MISSING")
    reader.url("NOWHERE", None, schemes=("http", "https"))
    reader.flag("ON", default=True)
    reader.integer("COUNT", 1)
    reader.integer("LOW", 1)
    reader.number("RATIO", 1.0)
    reader.url("PLACE", "http://y", schemes=("http", "https"))
    reader.problem("two things do not fit together")
    with pytest.raises(ConfigurationError) as refused:
        reader.finish()
    assert refused.value.problems == [
        "MISSING is not set: it must be text",
        "NOWHERE is not set: it must be a URL of the form http://… or https://…",
        "ON='maybe' is not 1/true/yes/on or 0/false/no/off",
        "COUNT='three' is not a whole number of at least 0",
        "LOW='-1' is not a whole number of at least 0",
        "RATIO='x' is not a number of at least 0",
        "PLACE='ftp://x' is not a URL of the form http://… or https://…",
        "two things do not fit together",
    ]
    assert str(refused.value).count("\n  - ") == 8


@pytest.mark.parametrize("raw", ["nan", "-0.1", ""])
def test_a_number_that_is_none_is_refused(raw):
    reader = Reader({"RATIO": raw})
    reader.number("RATIO", 1.0)
    with pytest.raises(ConfigurationError):
        reader.finish()
