"""Migrations that may be applied while servers of this release and of the one before work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

# What a statement must not do to a table that is there already, and what to do instead.
RULES = {
    r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)[^;]*? ON (?:ONLY )?(\S+)": (
        "writers wait until the index is built: AddIndexConcurrently, on a table of days by day"
    ),
    r"ALTER TABLE (\S+) ALTER COLUMN \S+ DROP DEFAULT": (
        "servers of the release before cannot insert any more: give the field a db_default"
    ),
    r"ALTER TABLE (\S+) ADD COLUMN (?=[^;]*NOT NULL)(?![^;]*DEFAULT)": (
        "fails where there are rows: give the field a db_default"
    ),
    r"ALTER TABLE (\S+) ALTER COLUMN \S+ SET NOT NULL": (
        "reads the whole table with everybody shut out: a CHECK, NOT VALID, first"
    ),
    r"ALTER TABLE (\S+) ALTER COLUMN \S+ (?:SET DATA )?TYPE": (
        "writes the whole table anew: a second column, filled little by little"
    ),
    r"ALTER TABLE (\S+) ADD CONSTRAINT (?![^;]*NOT VALID)(?![^;]*USING INDEX)": (
        "reads the whole table: NOT VALID, and VALIDATE in a migration of its own"
    ),
    r"ALTER TABLE (\S+) DROP COLUMN": (
        "servers of the release before still name it: remove it one release later"
    ),
    r"(?:ALTER TABLE (\S+) RENAME|DROP TABLE (\S+))": (
        "servers of the release before still use it: remove it one release later"
    ),
    r"LOCK TABLE (\S+)": "everybody is shut out: work in small transactions",
}

# Made before the first release, when no server ran beside them; none is to be added.
BEFORE_THE_FIRST_RELEASE = {
    "deployments.0002_supply",
    "deployments.0005_declared_schedules",
    "deployments.0007_flow_of_queues",
    "environments.0002_named_keys",
    "runs.0005_tokens",
    "runs.0006_run_of_schedule",
    "runs.0008_batch_to_fill",
    "runs.0010_queue_slots",
    "runs.0011_lanes_of_queues",
    "runs.0012_joined_runs",
    "runs.0013_inputs",
}


def harms(statements: str, known: set[str]) -> list[str]:
    """What these statements do to tables of before, as rules say."""
    found = []
    text = re.sub(r"--[^\n]*", "", statements).replace('"', "")
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?([\w.]+)", text))
    for pattern, advice in RULES.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            table = next(group for group in match.groups() if group).strip("(),;")
            if table in known - made:
                found.append(f"{table}: {advice}")
    return found


def _harmful() -> Iterator[tuple[str, str]]:
    """Each migration of ours, with each harm that it does."""
    executor: Any = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
    state = executor._create_project_state()
    for migration, _ in plan:
        known = {
            model.options.get("db_table") or "_".join(key) for key, model in state.models.items()
        }
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            state = migration.apply(state, editor, collect_sql=True)
        if migration.app_label in ours:
            for harm in harms("\n".join(editor.collected_sql), known):
                yield f"{migration.app_label}.{migration.name}", harm


@pytest.mark.django_db
def test_no_migration_shuts_out_a_running_system():
    found = [f"{name}: {harm}" for name, harm in _harmful() if name not in BEFORE_THE_FIRST_RELEASE]
    assert found == []


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE INDEX "a" ON "run" ("b");',
        "CREATE UNIQUE INDEX a ON run (b);",
        'ALTER TABLE "run" ADD COLUMN "a" text NOT NULL;',
        'ALTER TABLE "run" ADD COLUMN "a" text DEFAULT \'\' NOT NULL;'
        ' ALTER TABLE "run" ALTER COLUMN "a" DROP DEFAULT;',
        'ALTER TABLE "run" ALTER COLUMN "a" SET NOT NULL;',
        'ALTER TABLE "run" ALTER COLUMN "a" TYPE bigint USING "a"::bigint;',
        'ALTER TABLE "run" ADD CONSTRAINT "a" CHECK ("b" > 0);',
        'ALTER TABLE "run" DROP COLUMN "a" CASCADE;',
        'ALTER TABLE "run" RENAME COLUMN "a" TO "b";',
        'DROP TABLE "run" CASCADE;',
        "LOCK TABLE run, lane IN EXCLUSIVE MODE;",
    ],
)
def test_what_shuts_others_out_is_seen(statement):
    assert harms(statement, {"run"})
    assert harms(statement, {"lease"}) == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY a ON run (b);",
        'ALTER TABLE "run" ADD COLUMN "a" text NULL;',
        'ALTER TABLE "run" ADD COLUMN "a" text DEFAULT \'\' NOT NULL;',
        'ALTER TABLE "run" ADD CONSTRAINT "a" CHECK ("b" > 0) NOT VALID;',
        'ALTER TABLE "run" VALIDATE CONSTRAINT "a";',
        'CREATE TABLE "run" ("a" text NOT NULL); CREATE INDEX "b" ON "run" ("a");',
    ],
)
def test_what_shuts_nobody_out_is_allowed(statement):
    assert harms(statement, {"run"}) == []
