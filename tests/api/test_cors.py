import pytest
from django.test import AsyncClient, Client

PREFLIGHT = {"origin": "https://shop.example", "access-control-request-method": "POST"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/tasks/resize/trigger",
        "/api/v3/runs/run_1",
        "/realtime/v1/runs/run_1",
        "/api/v1/runs",
    ],
)
def test_a_preflight_is_answered_without_credential_or_database(path):
    response = Client().options(path, headers=PREFLIGHT)

    assert response.status_code == 204
    assert response["Access-Control-Allow-Origin"] == "*"
    assert response["Access-Control-Max-Age"] == "86400"
    assert response["Access-Control-Allow-Methods"] == "GET, POST, PUT, PATCH, DELETE, HEAD"


async def test_a_preflight_is_answered_under_asgi_as_well():
    response = await AsyncClient().options("/api/v1/runs", headers=PREFLIGHT)

    assert response.status_code == 204


@pytest.mark.parametrize(
    "header",
    [
        "authorization", "content-type", "trigger-version", "traceparent", "tracestate",
        "last-event-id", "timeout-seconds", "x-part-id", "x-trigger-source", "x-trigger-client",
        "x-trigger-api-version", "x-trigger-branch", "x-trigger-realtime-streams-version",
        "x-trigger-request-idempotency-key", "x-trigger-electric-version",
        "x-trigger-stream-start",
    ],
)  # fmt: skip
def test_every_header_of_the_clients_is_allowed(header):
    allowed = Client().options("/api/v1/runs", headers=PREFLIGHT)["Access-Control-Allow-Headers"]

    assert header in allowed.split(", ")


def test_answers_can_be_read_from_any_origin_refusals_too(nobody):
    answer = nobody.get("/api/v1/runs", origin="https://shop.example")

    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"x-trigger-jwt", "x-trigger-jwt-claims", "x-should-retry", "x-ratelimit-reset"} <= {
        *exposed
    }


def test_other_pages_stay_closed(client, db):
    assert "Access-Control-Allow-Origin" not in client.get("/admin/login/")
