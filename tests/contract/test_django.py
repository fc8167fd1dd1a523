"""A customer's Django project in processes and a database of its own, against a live server."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from apps.runs.models import Run
from tests import factories
from tests.api import scenes

_PROJECT = Path(__file__).resolve().parent.parent.parent / "examples" / "django_outbox"
_SECONDS = 120


class Shop:
    """The customer's project: commands in a process each, and a look at its tables."""

    def __init__(self, environment: dict[str, str], address: str) -> None:
        self._environment = environment
        self._address = address

    def manage(self, *arguments: str, **changed: str) -> str:
        """What a command of the project printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=_PROJECT,
            env=self._environment | changed,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=_PROJECT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def rows(self, statement: str) -> list[Any]:
        with psycopg.connect(self._address, autocommit=True) as database:
            cursor = database.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def shop(web) -> Iterator[Shop]:
    tenant = factories.acme()
    scenes.version(tenant.scope, {**scenes.TASK, "id": "ship"}, {**scenes.TASK, "id": "thank"})
    settings = connection.settings_dict
    name = f"shop_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    parts = {
        "dbname": name, "host": settings["HOST"], "port": settings["PORT"],
        "user": settings["USER"], "password": settings["PASSWORD"],
    }  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "HOLDFAST_API_URL": web.url,
        "HOLDFAST_SECRET_KEY": tenant.secret,
        "SHOP_DATABASE": name,
        "SHOP_DATABASE_HOST": settings["HOST"],
        "SHOP_DATABASE_PORT": str(settings["PORT"]),
        "SHOP_DATABASE_USER": settings["USER"],
        "SHOP_DATABASE_PASSWORD": settings["PASSWORD"],
    }
    project = Shop(
        environment, psycopg.conninfo.make_conninfo(**{k: v for k, v in parts.items() if v})
    )
    project.manage("migrate", "--verbosity", "0")
    yield project
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def tasks() -> list[str]:
    return list(Run.objects.order_by("pk").values_list("task", flat=True))


def test_what_is_rolled_back_starts_nothing_and_what_is_committed_starts_once(shop):
    said = shop.manage("place_orders", "Paris", "Atlantis", "Oslo")
    assert "we do not ship there" in said
    # right after each commit; the outbox waits for its relay
    assert tasks() == ["thank", "thank"]
    assert shop.rows("SELECT task, sent_at FROM holdfast_outboxentry") == [("ship", None)] * 2

    assert "0 wait, 0 were refused" in shop.manage("holdfast_relay", "--once")
    assert sorted(tasks()) == ["ship", "ship", "thank", "thank"]
    run = Run.objects.filter(task="ship").order_by("pk").first()
    assert '"city":"Paris"' in run.payload
    assert run.tags == ["order_1"]
    ids = {row[0] for row in shop.rows("SELECT run_id FROM holdfast_outboxentry")}
    assert ids == {str(found) for found in Run.objects.filter(task="ship")}
    assert shop.rows("SELECT * FROM holdfast_steps") == []  # made by the migrations


def test_a_relay_that_dies_before_its_commit_starts_no_second_run(shop):
    shop.manage("place_orders", "Paris")
    shop.manage("holdfast_relay", "--once")
    before = shop.rows("SELECT run_id FROM holdfast_outboxentry")
    # what the database has when the process dies after the server's answer
    shop.rows("UPDATE holdfast_outboxentry SET sent_at = NULL, run_id = '', attempts = 0")
    shop.manage("holdfast_relay", "--once")
    assert shop.rows("SELECT run_id FROM holdfast_outboxentry") == before
    assert tasks().count("ship") == 1


def test_several_relays_start_each_run_once(shop):
    shop.manage("place_orders", *[f"Town{n}" for n in range(30)])
    relays = [shop.start("holdfast_relay", "--once") for _ in range(3)]
    for relay in relays:
        output, _ = relay.communicate(timeout=_SECONDS)
        assert relay.returncode == 0, output
    shop.manage("holdfast_relay", "--once")
    assert tasks().count("ship") == 30
    assert shop.rows("SELECT count(DISTINCT run_id) FROM holdfast_outboxentry") == [(30,)]


def test_a_server_that_is_away_loses_nothing_of_the_outbox(shop):
    away = {"HOLDFAST_API_URL": "http://127.0.0.1:9"}
    said = shop.manage("place_orders", "Paris", **away)
    assert "No answer from http://127.0.0.1:9" in said  # the thanks are lost, and logged
    assert "1 wait" in shop.manage("holdfast_relay", "--once", **away)
    [(attempts, error)] = shop.rows("SELECT attempts, error FROM holdfast_outboxentry")
    assert (attempts, error[:14]) == (1, "No answer from")
    shop.rows("UPDATE holdfast_outboxentry SET available_at = now()")
    assert "0 wait" in shop.manage("holdfast_relay", "--once")
    assert tasks() == ["ship"]


def test_what_the_server_refuses_is_kept_with_its_reason_and_tried_again_when_asked(shop):
    shop.manage("place_orders", "Paris")
    shop.rows('UPDATE holdfast_outboxentry SET options = \'{"version": "20200101.1"}\'')
    assert "1 were refused" in shop.manage("holdfast_relay", "--once")
    [(error,)] = shop.rows("SELECT error FROM holdfast_outboxentry")
    assert "20200101.1" in error
    shop.rows("UPDATE holdfast_outboxentry SET options = '{}'")
    assert "0 were refused" in shop.manage("holdfast_relay", "--once", "--retry-failed")
    assert tasks().count("ship") == 1
