from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.core.exceptions import PermissionDenied
from django.test import Client
from rest_framework import exceptions

from apps.api import errors
from apps.core.errors import Conflict, Forbidden, Invalid, LimitExceeded, NotFound, Unavailable
from apps.runs import queries


def handled(error):
    response = errors.handle(error, {})
    assert response is not None
    return response


def test_a_domain_error_has_its_message_code_and_details():
    response = handled(Invalid("too many", detail={"tags": ["too many"]}))

    assert response.status_code == 422
    assert response.data == {
        "error": "too many",
        "code": "invalid",
        "details": {"tags": ["too many"]},
    }


@pytest.mark.parametrize("error", [NotFound(), Conflict("sealed")])
def test_what_lasts_is_not_to_be_tried_again(error):
    assert handled(error)["x-should-retry"] == "false"


@pytest.mark.parametrize("error", [Invalid("no"), Forbidden(), Unavailable()])
def test_other_refusals_leave_that_to_the_client(error):
    assert "x-should-retry" not in handled(error)


def test_who_asks_too_often_is_told_when_to_come_back():
    with time_machine.travel(datetime(2026, 11, 24, 12, tzinfo=UTC), tick=False):
        response = handled(LimitExceeded(retry_after=1.2))

    assert response.status_code == 429
    assert response["Retry-After"] == "2"
    assert response["x-ratelimit-remaining"] == "0"
    assert response["x-ratelimit-reset"] == "1795521601200"


def test_reasons_are_named_by_their_path():
    problems: Any = {"items": [{}, {"options": {"tags": ["bad", "worse"]}}], "task": ["missing"]}
    response = handled(exceptions.ValidationError(problems))

    assert response.status_code == 400
    assert response.data["details"] == {
        "items.1.options.tags": ["bad", "worse"],
        "task": ["missing"],
    }
    assert response.data["error"] == (
        "items.1.options.tags: bad; items.1.options.tags: worse; task: missing"
    )


def test_what_django_and_drf_raise_has_the_same_form():
    assert handled(PermissionDenied()).data == {"error": "Not allowed", "code": "forbidden"}
    assert handled(exceptions.MethodNotAllowed("GET")).status_code == 405
    assert handled(exceptions.NotAuthenticated()).data["error"] == "Invalid or Missing API key"


def test_a_bug_is_not_swallowed():
    assert errors.handle(ZeroDivisionError(), {}) is None


def test_a_bug_is_answered_in_json_and_tells_nothing(acme, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(queries, "get_run", broken)
    response = Client(raise_request_exception=False).get(
        "/api/v3/runs/run_06ekzj5sn9vkt2v7c5hjf3e8mc",
        headers={"authorization": f"Bearer {acme.secret}"},
    )

    assert response.status_code == 500
    assert response.json() == {"error": "Something went wrong on the server", "code": "internal"}
