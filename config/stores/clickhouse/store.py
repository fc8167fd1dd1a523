"""How the embedded ClickHouse is started: a loopback port, a password, a data folder."""

from __future__ import annotations

import importlib.metadata
import os
import re
import secrets
import socket
import sys
import urllib.request
from functools import cached_property
from pathlib import Path

from config.stores.clickhouse.handler import USER
from config.stores.errors import StoreError, full_disk
from config.stores.home import Home
from config.stores.process import Program, python_path

_DATABASE = "holdfast"
_ROOT = Path(__file__).resolve().parent.parent.parent.parent


class ClickHouse:
    """One ClickHouse below a home; its socket is ours, so its port outlives its process."""

    def __init__(self, home: Home, databases: tuple[str, ...] = (_DATABASE,)) -> None:
        self.data = home.path / "clickhouse"
        self.databases = databases
        self._port_file = home.path / "clickhouse.port"
        self._password_file = home.path / "clickhouse.password"

    @property
    def url(self) -> str:
        return f"http://{USER}:{self.password}@{self.address}/{self.databases[0]}"

    @property
    def address(self) -> str:
        host, port = self.listening.getsockname()
        return f"{host}:{port}"

    @cached_property
    def listening(self) -> socket.socket:
        """The socket, on the port of the last time where it is still free."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in (self._latest_port(), 0):
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            break
        listening.listen(128)
        self._port_file.write_text(str(listening.getsockname()[1]))
        return listening

    @cached_property
    def password(self) -> str:
        """What keeps other users of this machine out: a loopback port is open to all of them."""
        try:
            return self._password_file.read_text()
        except FileNotFoundError:
            password = secrets.token_urlsafe(24)
            with open(os.open(self._password_file, os.O_CREAT | os.O_WRONLY, 0o600), "w") as out:
                out.write(password)
            return password

    def close(self) -> None:
        """Give the port back."""
        self.listening.close()

    def program(self) -> Program:
        fd = self.listening.fileno()
        serve = (sys.executable, "-m", "config.stores.clickhouse.server")
        return Program(
            name="clickhouse",
            command=(*serve, str(self.data), str(fd), *self.databases),
            environment={
                "HOLDFAST_CLICKHOUSE_PASSWORD": self.password,
                "PYTHONPATH": python_path(_ROOT),
                "TZ": "UTC",
            },
            grace_seconds=30,
            prepare=self.prepare,
            is_store=True,
            is_ready=self.is_ready,
            diagnose=self.diagnose,
            inherited=(fd,),
        )

    def prepare(self) -> None:
        """Refuse a folder that a newer engine has written: an older one may spoil it."""
        self.data.mkdir(parents=True, exist_ok=True)
        try:
            wrote = (self.data / "VERSION").read_text()
        except FileNotFoundError:
            return
        ours = importlib.metadata.version("chdb-core")
        if _release(wrote) > _release(ours):
            raise StoreError(
                f"{self.data} is of ClickHouse {wrote}, newer than the {ours} that is installed "
                "here: install what wrote it, or set HOLDFAST_HOME to another folder"
            )

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/ping", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def diagnose(self, log: str) -> str | None:
        """The sentence for a folder that the engine cannot open."""
        if full := full_disk(log, self.data):
            return full
        if found := re.search(r"cannot open: (.*)", log):
            return (
                f"ClickHouse cannot open {self.data}: {found[1][:300]}. Restore that folder from "
                "a backup, or move it away to begin with empty telemetry"
            )
        return None

    def _latest_port(self) -> int:
        try:
            return int(self._port_file.read_text())
        except (OSError, ValueError):
            return 0


def _release(version: str) -> tuple[int, ...]:
    """The year and month of a ClickHouse version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
