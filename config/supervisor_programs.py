"""What Holdfast consists of: which programs run, in which order, with which variables."""

from __future__ import annotations

import errno
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from config.stores.clickhouse.store import ClickHouse
from config.stores.errors import StoreError, from_os
from config.stores.home import Home
from config.stores.postgres import Postgres
from config.stores.process import Program, python_path
from config.stores.redis import Redis
from config.stores.urls import embedded_urls, ensure_secret, write_urls
from config.supervisor import Report, Supervisor, ignore

ROOT = Path(__file__).resolve().parent.parent
STORES = ("postgres", "redis", "clickhouse")
PROCESSES = ("web", "engine", "platform", "pool", "beat")
NAMES = (*STORES, *PROCESSES)

_URLS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "clickhouse": "CLICKHOUSE_URL"}
_STORES = {"postgres": Postgres, "redis": Redis, "clickhouse": ClickHouse}
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 -- addresses to recognise
_APPLICATION = "config.asgi:application"
_WEB = (sys.executable, "-m", "config.web")
_MANAGE = (sys.executable, str(ROOT / "manage.py"))
_CELERY = (sys.executable, "-m", "celery", "-A", "config")
# Threads: the jobs wait for mail servers, webhooks and subprocesses, not for the processor.
_WORKER = (*_CELERY, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "INFO")
# Nobody listens to what they would tell each other.
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_LATER = {"engine", "beat"}
_COMMANDS = {
    "engine": (*_MANAGE, "engine"),
    "platform": (*_WORKER, *_QUIET, "-Q", "platform", "-n", "platform@%h"),
    "pool": (*_WORKER, *_QUIET, "-Q", "pool.local", "-n", "pool.local@%h"),
    "beat": (*_CELERY, "beat", "--pidfile=", "--loglevel", "INFO"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to run and where; empty `only` means everything."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: bool = False  # whether the demo organization is made at the start

    @property
    def seeded(self) -> Path:
        """Where the secrets of the demo organization are left, for whoever asked for it."""
        return self.home / "seeded.json"

    def __post_init__(self) -> None:
        for name in (*self.only, *self.without):
            if name not in NAMES:
                raise StoreError(f"There is no process {name!r}: choose from {', '.join(NAMES)}")

    def wants(self, name: str) -> bool:
        return (not self.only or name in self.only) and name not in self.without


def build(
    choice: Choice, *, environment: Mapping[str, str] | None = None, report: Report = ignore
) -> Supervisor:
    """A supervisor of what was chosen; a store whose URL is in `environment` is external."""
    given = dict(os.environ if environment is None else environment)
    try:
        with ExitStack() as held:
            return _build(choice, given, report, held)
    except OSError as error:
        raise from_os(error, choice.home) from error


def _build(choice: Choice, given: dict[str, str], report: Report, held: ExitStack) -> Supervisor:
    stores = [name for name in STORES if choice.wants(name) and not given.get(_URLS[name])]
    processes = [name for name in PROCESSES if choice.wants(name)]
    home = Home(choice.home)
    home.make()
    if stores:
        held.enter_context(home.lock("stores"))
    if processes:
        held.enter_context(home.lock("up"))
    if not given.get("SECRET_KEY"):
        ensure_secret(home.path)
    programs, addresses = _stores(home, stores, held)
    # Those of an earlier `manage.py stores` stay known; what the caller gave wins over all.
    known = embedded_urls(home.path)
    variables = {**known, "SERVER_URL": "", **addresses, **given, "HOLDFAST_HOME": str(home.path)}
    if processes:
        programs += _processes(choice, processes, variables, held)
        addresses["SERVER_URL"] = variables["SERVER_URL"]
    write_urls(home.path, {**_known_addresses(home.path), **addresses})
    return Supervisor(home, programs, report=report, environment=variables, held=held.pop_all())


def _known_addresses(home: Path) -> dict[str, str]:
    """What the home knew before, without its secret."""
    return {name: url for name, url in embedded_urls(home).items() if name.endswith("_URL")}


def _stores(
    home: Home, names: Iterable[str], held: ExitStack
) -> tuple[list[Program], dict[str, str]]:
    programs: list[Program] = []
    addresses: dict[str, str] = {}
    for name in names:
        store = _STORES[name](home)
        if isinstance(store, ClickHouse):
            held.callback(store.close)
        programs.append(store.program())
        addresses[_URLS[name]] = store.url
    return programs, addresses


def _processes(
    choice: Choice, names: list[str], variables: dict[str, str], held: ExitStack
) -> list[Program]:
    """Programs of ours; sets SERVER_URL among the variables before any of them reads it."""
    listening = held.enter_context(_listen(choice)) if "web" in names else None
    port = listening.getsockname()[1] if listening else choice.port
    host = "127.0.0.1" if choice.host in _EVERYWHERE else choice.host
    variables["SERVER_URL"] = variables.get("SERVER_URL") or f"http://{host}:{port}"
    environment = {**variables, "PYTHONPATH": python_path(ROOT), "PYTHONUNBUFFERED": "1"}
    programs = [
        Program(name="prepare", command=_prepare(choice), environment=environment,
                after=("postgres",), runs_once=True),
    ]  # fmt: skip
    for name in names:
        if listening is not None and name == "web":
            programs.append(_web(listening, environment))
        else:
            command = _COMMANDS[name]
            # what nobody waits for leaves the processors to what somebody does
            after = ("prepare", "redis", *(("web",) if name in _LATER else ()))
            programs.append(
                Program(name=name, command=command, environment=environment, after=after)
            )
    return programs


def _prepare(choice: Choice) -> tuple[str, ...]:
    # seeded by the same process: another one would first import all of Django again
    return (*_MANAGE, "prepare", *(("--seed", str(choice.seeded)) if choice.seeds else ()))


def _web(listening: socket.socket, environment: Mapping[str, str]) -> Program:
    """Daphne on a socket that stays open while it restarts: clients wait instead of failing."""
    fd = listening.fileno()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/health/live"
    return Program(
        name="web",
        command=(*_WEB, "--fd", str(fd), "--verbosity", "0", _APPLICATION),
        environment=environment,
        after=("prepare", "redis"),
        is_ready=lambda: _answers(url),
        inherited=(fd,),
    )


def _answers(url: str) -> bool:
    """Whether a server gives any answer at all."""
    try:
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 -- our own address
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _listen(choice: Choice) -> socket.socket:
    family = socket.AF_INET6 if ":" in choice.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((choice.host, choice.port))
    except OSError as error:
        listening.close()
        raise StoreError(_refusal(choice, error)) from None
    listening.listen(1024)
    return listening


def _refusal(choice: Choice, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {choice.port} of {choice.host} is in use by another program: stop that one, "
            "or choose another port with --port (0 takes a free one)"
        )
    return f"Cannot listen on {choice.host}, port {choice.port}: {error.strerror}"
