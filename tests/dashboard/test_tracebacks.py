"""Stack traces taken apart."""

from __future__ import annotations

import traceback

from apps.dashboard.tracebacks import frames


def test_a_traceback_of_python_has_its_places_and_source_lines():
    try:
        int("seven")
    except ValueError:
        (frame,) = frames(traceback.format_exc())
    assert frame.short_file.endswith("dashboard/test_tracebacks.py")
    assert frame.function == "test_a_traceback_of_python_has_its_places_and_source_lines"
    assert frame.code == 'int("seven")'
    assert not frame.is_library


def test_code_of_others_is_told_apart():
    trace = (
        'Traceback (most recent call last):\n  File "/app/tasks.py", line 3, in sync\n'
        '    fetch(row)\n    ~~~~~^^^^^\n  File "/x/site-packages/httpx/_api.py", line 9, in get\n'
        '  File "<frozen importlib>", line 1, in load\nValueError: no\n'
    )
    found = frames(trace)
    assert [(f.line, f.code, f.is_library) for f in found] == [
        ("3", "fetch(row)", False), ("9", "", True), ("1", "", True),
    ]  # fmt: skip


def test_a_stack_of_javascript_has_its_places():
    stack = "Error: no\n    at sync (/app/src/tasks.ts:12:5)\n    at /app/node_modules/x/y.js:1:2"
    assert [(f.short_file, f.line, f.function, f.is_library) for f in frames(stack)] == [
        ("app/src/tasks.ts", "12", "sync", False), ("node_modules/x/y.js", "1", "", True),
    ]  # fmt: skip


def test_other_texts_have_no_frames():
    assert frames(None) == []
    assert frames("it broke\nsomewhere: 3") == []


def test_only_the_last_of_very_many_are_kept():
    trace = "\n".join(f'  File "/a.py", line {n}, in f' for n in range(1_000))
    assert len(frames(trace)) == 100
    assert frames(trace)[-1].line == "999"
