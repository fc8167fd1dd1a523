"""`manage.py doctor`: each check finds what is wrong, and says what to do."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from apps.core import clock
from apps.core.ids import new_id
from apps.runs.models import Timer
from apps.runs.states import TimerKind
from config import doctor


@pytest.fixture
def nowhere(tmp_path):
    return str(tmp_path / "nothing.sock")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "check",
    [
        *(doctor.check_postgres, doctor.check_migrations, doctor.check_clock),
        *(doctor.check_engine, doctor.check_invariants, doctor.check_redis),
        *(doctor.check_clickhouse, doctor.check_objects, doctor.check_disk),
        doctor.check_processes,
    ],
)
def test_a_sound_installation_has_no_problem(check):
    finding = check()
    assert not finding.is_problem, finding


def test_a_redis_that_is_away_is_a_problem(settings, nowhere):
    settings.REDIS_URL = f"unix://{nowhere}"
    finding = doctor.check_redis()
    assert finding.found.startswith("does not answer: ")
    assert "REDIS_URL" in finding.advice


def test_a_clickhouse_that_is_away_is_a_problem(settings):
    settings.CLICKHOUSE_URL = "http://127.0.0.1:1/default"
    finding = doctor.check_clickhouse()
    assert finding.found.startswith("does not answer: ")
    assert "CLICKHOUSE_URL" in finding.advice


@pytest.mark.django_db
def test_old_versions_are_problems(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_POSTGRES", 990_000)
    monkeypatch.setattr(doctor, "OLDEST_REDIS", (99,))
    monkeypatch.setattr(doctor, "OLDEST_CLICKHOUSE", (99,))
    for check in (doctor.check_postgres, doctor.check_redis, doctor.check_clickhouse):
        assert check().advice.startswith("update it")


@pytest.mark.django_db
def test_clocks_that_differ_are_a_problem(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) - timedelta(seconds=30))
    finding = doctor.check_clock()
    seconds = float(finding.found.removeprefix("differs from the database's by ").split()[0])
    assert seconds == pytest.approx(30, abs=20)  # what lies between the two looks
    assert "NTP" in finding.advice


@pytest.mark.django_db
def test_overdue_work_is_a_problem():
    due = datetime.now(UTC) - timedelta(minutes=5)
    Timer.objects.create(run_id=new_id(), kind=TimerKind.DUE, due_at=due)
    finding = doctor.check_engine()
    assert "overdue by 30" in finding.found
    assert "manage.py engine" in finding.advice


def test_little_room_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_DISK_BYTES", 2**60)
    assert "make room" in doctor.check_disk().advice


def test_an_object_store_that_refuses_is_a_problem(settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "file")},
        },
    }
    assert "OBJECT_STORE_URL" in doctor.check_objects().advice


def test_queues_that_nobody_listens_to_are_a_problem():
    finding = doctor.check_jobs()
    assert finding.found == "no worker listens to platform, pool.local"
    assert "celery -A config worker -Q pool.local" in finding.advice


@pytest.mark.django_db
def test_it_prints_a_line_for_each_check_and_exits_with_1_on_a_problem():
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=out)  # nobody listens to the queues here
    assert ended.value.code == 1
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(doctor.DATABASE_CHECKS) + len(doctor.OTHER_CHECKS) + 1
    assert [line for line in lines if line.startswith("!!")] == [
        line for line in lines if " jobs " in line
    ]
    assert lines[-1] == "1 problem."


@pytest.mark.django_db
def test_it_says_the_same_as_json(monkeypatch):
    monkeypatch.setattr(doctor, "OTHER_CHECKS", (doctor.check_disk,))
    out = StringIO()
    call_command("doctor", "--json", stdout=out)
    document = json.loads(out.getvalue())
    assert document["problems"] == 0
    assert [check["name"] for check in document["checks"]] == [
        *("postgresql", "migrations", "clock", "engine", "invariants", "disk")
    ]
    assert all(check["ok"] for check in document["checks"])
