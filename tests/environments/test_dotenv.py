"""The text of a .env file becomes variables, as its usual readers take it."""

import pytest

from apps.environments.dotenv import parse_dotenv
from apps.environments.errors import VariablesInvalid


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("\n\n# nothing\n   \n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("export A=1", {"A": "1"}),
        ("  A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=one two", {"A": "one two"}),
        ("A=1 # a remark", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A='a # b'", {"A": "a # b"}),
        ('A="a \\"b\\" \\n c"', {"A": 'a "b" \n c'}),
        ("A='a\\nb'", {"A": "a\\nb"}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ('A="x" # a remark', {"A": "x"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=postgres://u:p@h/d?x=1", {"A": "postgres://u:p@h/d?x=1"}),
    ],
)
def test_a_file_is_read(text, found):
    assert parse_dotenv(text) == found


@pytest.mark.parametrize(("text", "line"), [("A", 1), ("A=1\nnonsense\n", 2), ("=1", 1)])
def test_a_line_that_says_nothing_is_named(text, line):
    with pytest.raises(VariablesInvalid, match=f"Line {line} "):
        parse_dotenv(text)


def test_a_long_file_is_read_in_no_time():
    text = "\n".join(f'V{number}="{"x" * 50}' for number in range(2_000))
    parse_dotenv("\n".join(f"V{number}={'x y ' * 50}" for number in range(2_000)))
    with pytest.raises(VariablesInvalid):
        parse_dotenv(text + "\n!")
