"""The home folder: its locks, and its sockets' place."""

import os
import stat

import pytest

from config.stores.errors import StoreError
from config.stores.home import Home


def test_a_second_holder_is_told_who_has_the_home(home):
    with home.lock("up"), pytest.raises(StoreError, match=r"running already in .*home") as refused:
        Home(home.path).lock("up")
    assert f"process {os.getpid()}" in str(refused.value)


def test_a_lock_is_free_when_its_holder_is_gone(home):
    home.lock("up").close()
    assert not home.is_locked(home.path / "up.lock")
    home.lock("up").close()


def test_stores_and_processes_have_locks_of_their_own(home):
    with home.lock("stores"), home.lock("up"):
        assert home.is_locked(home.path / "up.lock")


def test_sockets_are_in_the_home(home):
    short = Home(home.path.parent)
    assert short.sockets == short.path / "run"


def test_a_long_path_gets_a_short_folder_for_its_sockets(tmp_path):
    home = Home(tmp_path / ("long" * 30))
    home.make()
    try:
        assert home.sockets != home.path / "run"
        assert len(str(home.sockets / "postgres" / ".s.PGSQL.5432")) < 100
        assert home.sockets == Home(home.path).sockets
        assert home.sockets != Home(tmp_path / ("longer" * 20)).sockets
    finally:
        home.sockets.rmdir()


def test_nobody_else_can_list_the_sockets(home):
    assert stat.S_IMODE(home.sockets.stat().st_mode) == 0o711


def test_a_folder_of_somebody_else_is_not_used_for_sockets(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    home = Home(tmp_path)
    home.sockets.mkdir()
    os.chown(home.sockets, 65534, 65534)
    with pytest.raises(StoreError, match="belongs to somebody else"):
        home.make()
