"""The engines that every other test stands on."""

import clickhouse_connect
import pytest
import redis
from django.conf import settings
from django.db import connection


@pytest.mark.django_db
def test_the_database_is_postgresql_of_this_session():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_version_num')::int")
        database, version = cursor.fetchone()
    assert database.startswith("test_")
    assert version >= 150_000


def test_redis_answers():
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert client.ping()


def test_clickhouse_answers_in_a_database_of_this_worker():
    with clickhouse_connect.get_client(dsn=settings.CLICKHOUSE_URL) as client:
        assert str(client.command("SELECT currentDatabase()")).startswith("test")
