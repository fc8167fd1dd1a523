"""Workers as processes of this machine, in sessions of their own, recorded in files.

Under `home/pools/<pool>/<instance>/` a worker has its record, its log and, once it ended, how. The
files are the provider's whole memory, so a provider that was restarted knows its workers again. A
small shell script (keep.sh) stands over each worker and writes down how it ended even when the
provider is not there to see it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from apps.providers import liveness
from apps.providers.environments import locked, tool_variables
from apps.providers.errors import ProviderError, Unsupported
from apps.providers.protocol import Capabilities, Observed, WorkerSpec
from apps.providers.workspace import Workspace

_KEEPER = Path(__file__).with_name("keep.sh")
_MARK = "HOLDFAST_INSTANCE"
_FORGOTTEN = "forgotten"
_REAPED = "reaped"

# Keepers that this very process started: only it can take their exit status from the system.
_children: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What is known of a worker's keeper since before the worker was started."""

    pid: int
    identity: str
    started_at: float
    project: str
    environment: str


class ProcessProvider:
    """A pool on this machine; raises ProviderError."""

    capabilities = Capabilities()

    def __init__(
        self,
        home: Path,
        *,
        pool: str,
        workspace: Workspace,
        log_bytes: int = 4 * 1024 * 1024,
        kept_logs: int = 20,
    ) -> None:
        self._folder = home / "pools" / pool
        self._workspace = workspace
        self._log_bytes = log_bytes
        self._kept_logs = kept_logs

    def start(self, spec: WorkerSpec) -> str:
        """Start a worker and return its reference; for a live or ended instance, do nothing."""
        folder = self._path(spec.instance)
        environment = self._workspace.environment(spec.bundle)
        project = self._workspace.project(spec.bundle)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self._folder / f"{spec.instance}.lock"):
                if _record(folder) is None:
                    command = [str(environment.python), *spec.command]
                    keeper = _spawn(folder, project, command, _variables(spec, environment.path))
                    _children[spec.instance] = keeper
                    _admit(folder, keeper, project=project.name, environment=environment.path.name)
        except OSError as error:
            raise ProviderError(f"The worker cannot be started: {error}") from error
        return spec.instance

    def stop(self, reference: str, *, grace: timedelta) -> None:
        """Ask a worker to finish what it holds, and kill it once it was asked `grace` ago."""
        folder = self._path(reference)
        record = _record(folder)
        if record is None or not self._is_alive(folder, record):
            return
        asked = folder / "stop"
        if not asked.exists():
            asked.write_text(f"{grace.total_seconds():g}")
            liveness.send(record.pid, record.identity, signal.SIGTERM)
        if time.time() - asked.stat().st_mtime >= grace.total_seconds():
            (folder / "killed").touch()
            liveness.kill_group(record.pid, record.identity)
            liveness.kill_members(f"{_MARK}={reference}")

    def list(self) -> Sequence[Observed]:
        """Every worker that is alive, and every ended one that was not forgotten."""
        self._collect_children()
        found = []
        for folder in self._folders():
            record = _record(folder)
            if record is None or (folder / _FORGOTTEN).exists():
                continue
            is_alive = self._is_alive(folder, record)
            if is_alive:
                self._trim_log(folder)
            else:
                self._reap(folder)
            found.append(_observed(folder, record, is_alive=is_alive))
        return found

    def forget(self, reference: str) -> None:
        """The end of this worker is recorded; its log stays among the newest few."""
        folder = self._path(reference)
        record = _record(folder)
        if record is not None and not self._is_alive(folder, record):
            self._reap(folder)
            (folder / _FORGOTTEN).touch()
            self._bound_logs()

    def checkpoint(self, reference: str, *, image: str) -> None:
        """Processes cannot be frozen."""
        raise Unsupported("Processes of this machine cannot be frozen; they are held in memory")

    def restore(self, spec: WorkerSpec, *, image: str) -> str:
        """Processes cannot be thawed."""
        raise Unsupported("Processes of this machine cannot be frozen; they are held in memory")

    def discard(self, image: str) -> None:
        """There are no images."""

    def stop_all(self, *, grace: timedelta) -> None:
        """Stop every worker of the pool and wait until all are gone, at most a little over `grace`.

        For the end of the embedded server, whose workers would have nobody to work for.
        """
        deadline = time.monotonic() + grace.total_seconds() + 5
        while alive := [seen for seen in self.list() if seen.is_alive]:
            for seen in alive:
                self.stop(seen.reference, grace=grace)
            if time.monotonic() > deadline:
                raise ProviderError(f"{len(alive)} workers do not end, even when killed")
            time.sleep(0.05)

    def log_of(self, reference: str) -> str:
        """What the worker has printed lately."""
        try:
            return (self._path(reference) / "worker.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def in_use(self) -> set[str]:
        """The names of the projects and environments that live workers need."""
        names: set[str] = set()
        for folder in self._folders():
            record = _record(folder)
            if record is not None and self._is_alive(folder, record):
                names |= {record.project, record.environment}
        return names

    def _path(self, instance: str) -> Path:
        try:
            return self._folder / str(UUID(instance))
        except ValueError:
            raise ProviderError(f"{instance!r} is not an instance", permanent=True) from None

    def _folders(self) -> Sequence[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.is_dir())

    def _is_alive(self, folder: Path, record: _Record) -> bool:
        if (folder / "exit").exists():
            return False
        if liveness.is_same(record.pid, record.identity):
            return True
        # The keeper may have been killed alone; or it wrote the end down since we looked.
        is_marked = bool(liveness.members(f"{_MARK}={folder.name}"))
        return is_marked and not (folder / "exit").exists()

    def _reap(self, folder: Path) -> None:
        """Kill what the worker left behind: nothing of it may go on with a run it has lost."""
        if not (folder / _REAPED).exists():
            liveness.kill_members(f"{_MARK}={folder.name}")
            (folder / _REAPED).touch()

    def _collect_children(self) -> None:
        for instance, keeper in list(_children.items()):
            if keeper.poll() is not None:
                _children.pop(instance, None)

    def _trim_log(self, folder: Path) -> None:
        """Drop the older half of a log that has grown too long; workers append, so they go on."""
        path = folder / "worker.log"
        if path.stat().st_size <= self._log_bytes:
            return
        with path.open("r+b") as log:
            log.seek(-self._log_bytes // 2, os.SEEK_END)
            log.readline()
            rest = log.read()
            log.seek(0)
            log.truncate()
            log.write(rest)

    def _bound_logs(self) -> None:
        ended = [path for path in self._folders() if (path / _FORGOTTEN).exists()]
        ended.sort(key=lambda path: (path / _FORGOTTEN).stat().st_mtime)
        for path in ended[: -self._kept_logs or None]:
            shutil.rmtree(path, ignore_errors=True)
            path.with_suffix(".lock").unlink(missing_ok=True)


def _variables(spec: WorkerSpec, environment: Path) -> dict[str, str]:
    own = tool_variables()
    return {
        **own,
        "PATH": f"{environment / 'bin'}:{own.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(environment),
        "PYTHONUNBUFFERED": "1",
        **spec.variables,
        _MARK: spec.instance,
    }


def _spawn(
    folder: Path, project: Path, command: Sequence[str], variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 -- a list, never a shell
            ["/bin/sh", str(_KEEPER), str(folder), *command],
            cwd=project,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _admit(
    folder: Path, keeper: subprocess.Popen[bytes], *, project: str, environment: str
) -> None:
    """Write the keeper down, and only then let it start the worker."""
    record = {
        "pid": keeper.pid,
        "identity": liveness.identity(keeper.pid),
        "started_at": time.time(),
        "project": project,
        "environment": environment,
    }
    scratch = folder / "record.new"
    scratch.write_text(json.dumps(record))
    scratch.rename(folder / "record.json")
    if keeper.stdin is not None:
        with suppress(BrokenPipeError), keeper.stdin as pipe:
            pipe.write(b"go\n")


def _record(folder: Path) -> _Record | None:
    try:
        return _Record(**json.loads((folder / "record.json").read_text()))
    except FileNotFoundError:
        return None


def _observed(folder: Path, record: _Record, *, is_alive: bool) -> Observed:
    code = _number(folder / "exit")
    return Observed(
        reference=folder.name,
        instance=folder.name,
        is_alive=is_alive,
        started_at=datetime.fromtimestamp(record.started_at, UTC),
        pid=_number(folder / "worker.pid"),
        exit_code=None if is_alive else code,
        reason="" if is_alive else _reason(folder, code),
    )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _reason(folder: Path, code: int | None) -> str:
    """How a worker ended, in words."""
    if (folder / "killed").exists():
        return "It did not end within its grace period and was killed"
    if code is None:
        return "Its processes are gone and left no exit status (killed, or the machine restarted)"
    if code == 0:
        return "It was asked to stop" if (folder / "stop").exists() else "It ended by itself"
    if code > 128:
        with suppress(ValueError):
            return f"It was killed by {signal.Signals(code - 128).name}"
    return f"It ended with exit code {code}: {_last_line(folder)}"


def _last_line(folder: Path) -> str:
    try:
        lines = (folder / "worker.log").read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1][:500] if lines else "it printed nothing"
