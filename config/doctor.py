"""What `manage.py doctor` looks at: each check says what it found, and what to do about it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import redis
from clickhouse_connect.driver.exceptions import ClickHouseError
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError

from apps.core import clock
from apps.runs.models import Timer
from apps.runs.queries import invariant_violations
from apps.schedules import queries as schedules
from config.celery import app as jobs
from config.stores.home import Home
from config.supervisor_programs import PROCESSES

OLDEST_POSTGRES = 150_000
OLDEST_REDIS = (6, 2)
OLDEST_CLICKHOUSE = (24, 8)
MOST_CLOCK_DIFFERENCE = timedelta(seconds=2)  # leases and retries compare both clocks
LEAST_DISK_BYTES = 1024**3
MOST_OVERDUE = timedelta(seconds=60)
QUEUES = ("platform", "pool.local")
_VERSION = "SELECT current_setting('server_version'), current_setting('server_version_num')::int"
_PATIENCE_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check; `advice` is blank when all is well."""

    name: str
    found: str
    advice: str = ""

    @property
    def is_problem(self) -> bool:
        return bool(self.advice)


Check = Callable[[], Finding]


def examine() -> Iterator[Finding]:
    """Run every check, one after the other; those of the database only where there is one."""
    database = check_postgres()
    yield database
    if not database.is_problem:
        yield from (check() for check in DATABASE_CHECKS)
    yield from (check() for check in OTHER_CHECKS)


def check_postgres() -> Finding:
    """Whether the database answers and is recent enough."""
    direct = connection.copy()
    direct.settings_dict["OPTIONS"]["pool"] = False  # which would try for longer than one waits
    try:
        with closing(direct), direct.cursor() as cursor:
            cursor.execute(_VERSION)
            version, number = cursor.fetchone()
    except DatabaseError as error:
        return Finding(
            name="postgresql",
            found=f"does not answer: {_line(error)}",
            advice="start `manage.py up` or `manage.py stores`, or correct DATABASE_URL",
        )
    if number < OLDEST_POSTGRES:
        return Finding(name="postgresql", found=f"is {version}", advice="update it to 15 or newer")
    return Finding(name="postgresql", found=f"{version} answers")


def check_migrations() -> Finding:
    """Whether the schema is that of this code."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        first = f"{plan[0][0].app_label}.{plan[0][0].name}"
        return Finding(
            name="migrations",
            found=f"{len(plan)} are not applied, first {first}",
            advice="run `manage.py migrate`",
        )
    return Finding(name="migrations", found="all applied")


def check_clock() -> Finding:
    """Whether the clocks of this machine and of the database agree."""
    before = clock.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there: datetime = cursor.fetchone()[0]
    after = clock.now()
    difference = abs(there - (before + (after - before) / 2))
    found = f"differs from the database's by {difference.total_seconds():.3f} s"
    if difference > MOST_CLOCK_DIFFERENCE:
        advice = "set both machines' clocks by NTP: leases and retries compare them"
        return Finding(name="clock", found=found, advice=advice)
    return Finding(name="clock", found=found)


def check_engine() -> Finding:
    """Whether somebody does the work that is due."""
    try:
        oldest = Timer.objects.order_by("due_at").first()
    except DatabaseError:
        return Finding(name="engine", found="not knowable before the migrations")
    overdue = clock.now() - oldest.due_at if oldest else timedelta(0)
    if overdue > MOST_OVERDUE:
        return Finding(
            name="engine",
            found=f"work is overdue by {overdue.total_seconds():.0f} s",
            advice="run `manage.py engine`, or look at its log for what stops it",
        )
    return Finding(name="engine", found="nothing is overdue")


def check_invariants() -> Finding:
    """Whether the runs, leases, queues and schedules contradict each other anywhere."""
    try:
        now = clock.now()
        violations = [*invariant_violations(now=now), *schedules.invariant_violations(now=now)]
    except DatabaseError:
        return Finding(name="invariants", found="not knowable before the migrations")
    if violations:
        return Finding(
            name="invariants",
            found="; ".join(violations),
            advice="look again in a minute, since the engine repairs what it can; if it stays, "
            "report it with the output of `manage.py doctor --json`",
        )
    return Finding(name="invariants", found="all hold")


def check_redis() -> Finding:
    """Whether Redis answers and is recent enough."""
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=_PATIENCE_SECONDS) as client:
            version = str(client.info("server")["redis_version"])
    except (redis.RedisError, OSError) as error:
        return Finding(
            name="redis",
            found=f"does not answer: {_line(error)}",
            advice="start `manage.py up` or `manage.py stores`, or correct REDIS_URL; runs go on "
            "without it, but slower",
        )
    if _numbers(version) < OLDEST_REDIS:
        return Finding(name="redis", found=f"is {version}", advice="update it to 6.2 or newer")
    return Finding(name="redis", found=f"{version} answers")


def check_clickhouse() -> Finding:
    """Whether ClickHouse answers and is recent enough."""
    try:
        with clickhouse_connect.get_client(
            dsn=settings.CLICKHOUSE_URL, connect_timeout=_PATIENCE_SECONDS
        ) as client:
            version = str(client.server_version)
    except (ClickHouseError, OSError) as error:
        return Finding(
            name="clickhouse",
            found=f"does not answer: {_line(error)}",
            advice="start `manage.py up` or `manage.py stores`, or correct CLICKHOUSE_URL; only "
            "logs and traces are missing without it",
        )
    if _numbers(version) < OLDEST_CLICKHOUSE:
        return Finding(
            name="clickhouse", found=f"is {version}", advice="update it to 24.8 or newer"
        )
    return Finding(name="clickhouse", found=f"{version} answers")


def check_objects() -> Finding:
    """Whether the object storage keeps what it is given."""
    name = f"doctor/{uuid4()}"
    try:
        default_storage.save(name, ContentFile(b"x"))
        default_storage.delete(name)
    except Exception as error:
        return Finding(
            name="objects",
            found=f"cannot be written: {_line(error)}",
            advice="correct OBJECT_STORE_URL, its credentials or the rights on its folder",
        )
    return Finding(name="objects", found="can be written")


def check_disk() -> Finding:
    """Whether the home's disk has room."""
    free = shutil.disk_usage(_existing(Path(settings.HOLDFAST_HOME))).free
    found = f"{free / 1024**3:.1f} GiB free for {settings.HOLDFAST_HOME}"
    if free < LEAST_DISK_BYTES:
        return Finding(name="disk", found=found, advice="make room: 1 GiB is the least")
    return Finding(name="disk", found=found)


def check_jobs() -> Finding:
    """Whether a Celery worker listens to each of our queues."""
    try:
        answers = jobs.control.inspect(timeout=1.5).active_queues() or {}
    except (OSError, redis.RedisError, OperationalError) as error:
        return Finding(
            name="jobs",
            found=f"Celery's broker does not answer: {_line(error)}",
            advice="see what is said of redis",
        )
    heard = {queue["name"] for queues in answers.values() for queue in queues}
    if missing := [name for name in QUEUES if name not in heard]:
        commands = ", ".join(f"`celery -A config worker -Q {name}`" for name in missing)
        return Finding(
            name="jobs",
            found=f"no worker listens to {', '.join(missing)}",
            advice=f"run `manage.py up`, or {commands}",
        )
    return Finding(name="jobs", found=f"{len(answers)} workers listen to {', '.join(QUEUES)}")


def check_processes() -> Finding:
    """Which processes `manage.py up` keeps in this home."""
    home = Home(Path(settings.HOLDFAST_HOME))
    if not home.is_locked(home.path / "up.lock"):
        return Finding(name="processes", found="`manage.py up` does not run in this home")
    alive = [name for name in PROCESSES if home.is_locked(home.process_lock(name))]
    if missing := [name for name in PROCESSES if name not in alive]:
        return Finding(
            name="processes",
            found=f"{', '.join(alive) or 'none'} run; {', '.join(missing)} do not",
            advice=f"look into {home.path / 'logs'}, unless they were left out on purpose",
        )
    return Finding(name="processes", found=f"{', '.join(alive)} run")


DATABASE_CHECKS: tuple[Check, ...] = (
    check_migrations,
    check_clock,
    check_engine,
    check_invariants,
)
OTHER_CHECKS: tuple[Check, ...] = (
    check_redis,
    check_clickhouse,
    check_objects,
    check_disk,
    check_jobs,
    check_processes,
)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
