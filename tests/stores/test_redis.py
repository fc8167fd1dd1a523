"""The embedded Redis: a bell that is heard on a socket alone."""

import pytest
import redis

from config.stores.errors import StoreError
from config.stores.home import Home
from config.stores.process import Child
from config.stores.redis import Redis
from tests.stores.conftest import fill


def connect(store: Redis) -> redis.Redis:
    return redis.Redis.from_url(store.url, decode_responses=True)


def test_it_answers_on_its_socket_and_on_no_port(home, run):
    store = Redis(home)
    run(store.program())
    with connect(store) as client:
        assert client.config_get("port")["port"] == "0"
        assert tuple(map(int, client.info("server")["redis_version"].split("."))) >= (6, 2)


def test_an_orderly_stop_keeps_what_it_held(home, run):
    store = Redis(home)
    first = run(store.program())
    with connect(store) as client:
        client.set("kept", "yes")
    first.stop()
    run(store.program())
    with connect(store) as client:
        assert client.get("kept") == "yes"


def test_a_killed_one_is_replaced_on_the_same_socket(home, run):
    store = Redis(home)
    run(store.program()).kill()
    run(store.program())
    with connect(store) as client:
        assert client.ping()


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [(b"REDIS9999" + b"\0" * 20, "version 9999"), (b"rubbish" * 10, "Wrong signature")],
    ids=["newer", "corrupt"],
)
def test_a_snapshot_that_it_cannot_read_is_told_in_one_sentence(home, snapshot, reason):
    store = Redis(home)
    store.prepare()
    (store.data / "dump.rdb").write_bytes(snapshot)
    child = Child(store.program(), home)
    child.start()
    with pytest.raises(StoreError) as refused:
        child.wait_ready()
    told = str(refused.value)
    assert told.startswith(f"Redis cannot read {store.data / 'dump.rdb'}: ")
    assert reason in told
    assert told.endswith("Remove that file: nothing that must last is in it")
    assert "\n" not in told


def test_a_full_disk_does_not_stop_it(small_disk):
    home = Home(small_disk)
    home.make()
    fill(small_disk)
    store = Redis(home)
    child = Child(store.program(), home)
    child.start()
    try:
        child.wait_ready()
        with connect(store) as client:
            client.set("rung", "yes")
            assert client.get("rung") == "yes"
    finally:
        child.kill()
