"""The schema keeps what must be true."""

from datetime import timedelta

import pytest
from django.db import connection

from apps.core import clock
from apps.core.ids import created_at, new_id
from apps.core.partitions import ensure_partitions
from apps.runs.models import PARTITIONED

pytestmark = pytest.mark.django_db


def test_history_is_split_by_day_and_days_are_made_ahead():
    today = clock.now().date()
    made = ensure_partitions(PARTITIONED, first=today, days=12)
    assert len(made) == 4 * len(PARTITIONED)  # the migration made a week ahead
    assert ensure_partitions(PARTITIONED, first=today, days=12) == []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, relkind FROM pg_class WHERE relname = ANY(%s)", [list(PARTITIONED)]
        )
        assert dict(cursor.fetchall()) == dict.fromkeys(PARTITIONED, "p")


def test_an_id_knows_when_it_was_made():
    assert abs(created_at(new_id()) - clock.now()) < timedelta(seconds=5)
