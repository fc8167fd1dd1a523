"""The pages that machines ask: is it alive, can it serve, what does it count."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.utils import OperationalError
from prometheus_client.parser import text_string_to_metric_families

from apps.core import metrics
from apps.telemetry import store as stores


@pytest.fixture
def fresh_store():
    stores.store.cache_clear()
    yield
    stores.store.cache_clear()


def test_a_process_that_answers_is_alive(client):
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_with_all_stores_it_is_ready(client):
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"postgresql": "ok", "redis": "ok", "clickhouse": "ok"},
    }


@pytest.mark.django_db
def test_without_redis_and_clickhouse_it_is_degraded_and_still_ready(client, settings, fresh_store):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    settings.CLICKHOUSE_URL = "http://127.0.0.1:9/default"
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "checks": {"postgresql": "ok", "redis": "unreachable", "clickhouse": "unreachable"},
    }


def test_without_postgresql_it_is_not_ready(client, monkeypatch):
    def refuse() -> None:
        raise OperationalError("connection refused: password=hunter2")

    monkeypatch.setattr(connection, "cursor", refuse)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["postgresql"] == "unreachable"
    assert b"hunter2" not in answer.content


def test_health_needs_no_credential_and_takes_a_wrong_one(client):
    answer = client.get("/health/live", headers={"authorization": "Bearer nonsense"})
    assert answer.status_code == 200


def test_metrics_are_prometheus_text(client):
    metrics.runs_triggered.inc()
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.content.decode())}
    assert {
        "holdfast_runs_triggered",
        "holdfast_claims",
        "holdfast_claim_seconds",
        "holdfast_workers_connected",
        "holdfast_runs_held",
        "holdfast_telemetry_accepted",
        "holdfast_telemetry_buffered_rows",
    } <= names


@pytest.mark.parametrize("header", [None, "Bearer wrong", "secret", "Basic secret", "Bearer ü"])
def test_metrics_behind_a_token_are_for_its_holder(client, settings, header):
    settings.METRICS_TOKEN = "secret"
    headers = {"authorization": header} if header else {}
    assert client.get("/metrics", headers=headers).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer secret"}).status_code == 200
