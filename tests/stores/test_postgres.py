"""The embedded PostgreSQL: whole after anything, and clear about what it cannot use."""

import os
import shutil
import signal

import psycopg
import pytest

from config.stores.errors import StoreError
from config.stores.home import Home
from config.stores.postgres import UNSAFE_BUT_FAST, Postgres
from config.stores.process import Child
from tests.engines import cluster_template, postgres_binaries
from tests.processes import until


@pytest.fixture
def postgres(home) -> Postgres:
    return make(home)


def make(home: Home) -> Postgres:
    binaries = postgres_binaries()
    template = cluster_template(binaries)
    return Postgres(home, binaries=binaries, settings=UNSAFE_BUT_FAST, template=template)


def connect(postgres: Postgres):
    return psycopg.connect(postgres.url, autocommit=True)


def test_it_serves_its_own_database_on_a_socket_alone(postgres, run):
    run(postgres.program())
    with connect(postgres) as connection:
        row = connection.execute(
            "SELECT current_database(), current_setting('listen_addresses'), inet_server_addr()"
        ).fetchone()
    assert row == ("holdfast", "", None)


def test_text_is_sorted_and_folded_as_unicode(postgres, run):
    run(postgres.program())
    with connect(postgres) as connection:
        row = connection.execute("SELECT lower('ÄÖ'), current_setting('server_encoding')")
        assert row.fetchone() == ("äö", "UTF8")


def test_data_survives_a_restart(postgres, run):
    first = run(postgres.program())
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    first.stop()
    assert first.exit_code == 0
    run(postgres.program())
    with connect(postgres) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_data_survives_a_kill(home, run):
    postgres = Postgres(home, binaries=postgres_binaries())  # with fsync, as in the product
    first = run(postgres.program())
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.is_running)
    run(postgres.program())  # waits for the killed one's sessions
    with connect(postgres) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_dead_servers_claim_is_no_obstacle(postgres, run):
    postgres.prepare()
    # The number of a living process that is no PostgreSQL, as after a reboot.
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n")
    run(postgres.program())


@pytest.mark.parametrize(("version", "age"), [("99", "newer"), ("9", "older")])
def test_a_folder_of_another_version_is_refused(postgres, version, age):
    postgres.data.mkdir()
    (postgres.data / "PG_VERSION").write_text(version)
    with pytest.raises(StoreError) as refused:
        postgres.prepare()
    assert f"is of PostgreSQL {version}, {age} than the {postgres.major}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_that_holds_something_else_is_refused(postgres):
    postgres.data.mkdir()
    (postgres.data / "holiday.jpg").write_text("")
    with pytest.raises(StoreError, match="it holds files but no cluster"):
        postgres.prepare()
    assert (postgres.data / "holiday.jpg").exists()


def test_a_corrupt_folder_is_told_in_one_sentence(postgres, home):
    postgres.prepare()
    (postgres.data / "global" / "pg_control").write_bytes(b"rubbish" * 2000)
    child = Child(postgres.program(), home)
    child.start()
    with pytest.raises(StoreError) as refused:
        child.wait_ready()
    assert str(refused.value).startswith(f"PostgreSQL cannot use {postgres.data}: ")
    assert "Restore that folder from a backup" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_interrupted_creation_is_begun_again(postgres, run):
    half = postgres.data.with_name("postgres.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    run(postgres.program())
    assert not half.exists()


def test_a_full_disk_is_told_in_one_sentence(small_disk):
    home = Home(small_disk)
    home.make()
    postgres = Postgres(home, binaries=postgres_binaries())
    with pytest.raises(StoreError, match=r"The disk is full: make room in .*small") as told:
        postgres.prepare()
    assert "\n" not in str(told.value)
    assert not postgres.data.exists()


def test_a_disk_that_fills_up_later_is_told_too(postgres):
    log = 'FATAL:  could not write lock file "postmaster.pid": No space left on device'
    assert "The disk is full" in str(postgres.diagnose(log))


def test_the_template_saves_a_second_cluster(tmp_path, run, home):
    template = tmp_path / "template"
    binaries = postgres_binaries()
    Postgres(home, binaries=binaries, template=template).prepare()
    assert (template / "PG_VERSION").exists()
    shutil.rmtree(home.path / "postgres")
    (template / "marker").write_text("")
    Postgres(home, binaries=binaries, template=template).prepare()
    assert (home.path / "postgres" / "marker").exists()
