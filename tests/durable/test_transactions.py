"""Steps in the customer's own PostgreSQL: the effect and its record are one, whatever dies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest
from django.db import connection

from holdfast import step, step_sync, task
from holdfast.django import database as django_database
from holdfast.durable import Database
from holdfast.errors import HoldfastError
from holdfast.journal import Call
from holdfast.tasks import registry
from holdfast.testing import Bench, Crash, every_crash
from holdfast.transactions import Ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_tasks():
    before = list(registry)
    yield
    registry.clear()
    for each in before:
        registry.add(each)


@pytest.fixture
def address():
    """The address of a database with an account in it."""
    wanted = ("dbname", "user", "password", "host", "port")
    parameters = connection.get_connection_params()
    address = psycopg.conninfo.make_conninfo(
        **{name: parameters[name] for name in wanted if name in parameters}
    )
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("CREATE TABLE account (balance integer NOT NULL)")
        database.execute("INSERT INTO account VALUES (0)")
        Database(address).create_table()
        Database(address).create_table()  # as often as one likes
        yield address
        database.execute("DROP TABLE account; DROP TABLE holdfast_steps")


def balance(address: str) -> int:
    with psycopg.connect(address) as database:
        (found,) = database.execute("SELECT balance FROM account").fetchall()
        return int(found[0])


async def deposit(database, amount):
    await database.execute("UPDATE account SET balance = balance + %s", [amount])
    return amount


def deposit_plainly(database, amount):
    database.execute("UPDATE account SET balance = balance + %s", [amount])
    return amount


def test_every_crash_leaves_the_effect_once(address):
    @task(durable=True)
    async def pay():
        first = await step(deposit, 5, transaction=address)
        return first + await step(deposit, 7, transaction=address)

    before, runs = 0, 0
    for run in every_crash(pay):
        assert (run.output, balance(address)) == (12, before + 12)
        before, runs = before + 12, runs + 1
        with psycopg.connect(address) as database:  # the bench begins again with run_1
            database.execute("DELETE FROM holdfast_steps")
    assert runs == 5


def test_plain_tasks_have_transactions_too(address):
    @task(durable=True)
    def pay():
        return step_sync(deposit_plainly, 5, transaction=address)

    with Bench(crash=Crash(1, "before")) as bench:
        assert bench.run(pay).output == 5
    assert balance(address) == 5


def test_an_error_takes_everything_back(address):
    async def fail(database):
        await deposit(database, 5)
        raise LookupError("no")

    @task(durable=True, retry=1)
    async def pay():
        try:
            await step(fail, transaction=address)
        except LookupError:
            return "nothing"

    with Bench() as bench:
        assert bench.run(pay).output == "nothing"
    assert balance(address) == 0


def test_a_process_that_dies_between_commit_and_record_does_not_pay_twice(address):
    calls = []

    @asynccontextmanager
    async def fragile():
        async with await psycopg.AsyncConnection.connect(address) as database:
            yield database
        calls.append(1)
        if len(calls) == 1:  # it is committed, and nobody here knows
            raise OSError("the connection broke")

    @task(durable=True)
    async def pay():
        return await step(deposit, 5, transaction=fragile, retry=3)

    with Bench() as bench:
        run = bench.run(pay)
    assert (run.output, run.journal[0].attempts) == (5, 2)
    assert balance(address) == 5


def test_two_processes_that_execute_the_same_step_pay_once(address):
    """One takes the row, the other waits for it and then knows the result."""

    async def both():
        call = Call(position="1", kind="step", name="deposit", after=0, digest="d")

        async def once(database):
            await asyncio.sleep(0.1)
            return await deposit(database, 5)

        ledger = Ledger(Database(address))
        tries = [ledger.recorded(once, "run_9", call, is_async=True) for _ in range(2)]
        return await asyncio.gather(*(each() for each in tries))

    assert asyncio.run(both()) == [5, 5]
    assert balance(address) == 5


def test_outside_of_durable_tasks_it_is_a_transaction_all_the_same(address):
    assert asyncio.run(step(deposit, 5, transaction=address)) == 5
    assert balance(address) == 5


def test_a_source_of_connections_is_taken_as_it_is(address):
    @contextmanager
    def source():
        with psycopg.connect(address) as database:
            yield database

    @task(durable=True)
    def pay():
        return step_sync(deposit_plainly, 5, transaction=source)

    with Bench() as bench:
        assert bench.run(pay).output == 5
    assert balance(address) == 5


def test_true_takes_the_address_from_the_environment(address, monkeypatch):
    with pytest.raises(HoldfastError, match="HOLDFAST_STEPS_DATABASE_URL"):
        asyncio.run(step(deposit, 5, transaction=True))
    monkeypatch.setenv("HOLDFAST_STEPS_DATABASE_URL", address)
    assert asyncio.run(step(deposit, 5, transaction=True)) == 5


def pay_by_django(_, amount):
    with connection.cursor() as cursor:  # as models do: Django's own connection of the thread
        cursor.execute("UPDATE account SET balance = balance + %s", [amount])
    return amount


def test_what_django_does_is_committed_with_the_record(address):
    @task(durable=True)
    def pay():
        first = step_sync(pay_by_django, 5, transaction=django_database)
        return first + step_sync(pay_by_django, 7, transaction=django_database)

    before = 0
    for run in every_crash(pay):
        assert (run.output, balance(address)) == (12, before + 12)
        before += 12
        with psycopg.connect(address) as database:
            database.execute("DELETE FROM holdfast_steps")


def test_what_django_did_is_taken_back_with_its_record(address):
    def fail(taken, amount):
        pay_by_django(taken, amount)
        raise LookupError("no")

    @task(durable=True, retry=1)
    def pay():
        try:
            step_sync(fail, 5, transaction=django_database)
        except LookupError:
            return "nothing"

    with Bench() as bench:
        assert bench.run(pay).output == "nothing"
    assert balance(address) == 0
    with psycopg.connect(address) as database:
        assert database.execute("SELECT count(*) FROM holdfast_steps").fetchone() == (0,)


def test_a_connection_of_the_other_kind_is_refused_with_a_reason(address):
    with pytest.raises(HoldfastError, match="needs an async connection"):
        asyncio.run(step(deposit, 5, transaction=django_database))
    with pytest.raises(HoldfastError, match="needs a plain connection"):
        asyncio.run(step(deposit_plainly, 5, transaction=asynccontextmanager(lambda: None)))
    assert balance(address) == 0
