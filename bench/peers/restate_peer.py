"""Restate: its server and a service of its Python SDK with 16 places; three steps in a row."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import meter
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

STEPPED, ROUNDS = 1000, 3
_PATIENCE = 60.0

bench = restate.Service("bench")


async def step() -> int:
    return 1


@bench.handler()
async def three_steps(context: restate.Context, _: int) -> int:
    found = 0
    for name in ("one", "two", "three"):
        found += await context.run_typed(name, step)
    meter.tick()
    return found


@bench.handler()
async def fan_out(context: restate.Context, count: int) -> None:
    """Start so many from inside: cheaper for Restate than as many calls from outside."""
    for number in range(count):
        context.service_send(three_steps, arg=number)


async def work() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['SERVICE_PORT']}"]
    await serve(restate.app([bench]), config)  # type: ignore[arg-type]


def drive() -> None:
    jobs = meter.Meter()
    os.environ["SERVICE_PORT"] = str(_free_port())
    ingress, admin = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    with _server(ingress, admin), meter.worker():
        _ask(admin, "/deployments", {"uri": f"http://127.0.0.1:{os.environ['SERVICE_PORT']}"})
        rates = []
        for _ in range(ROUNDS + 1):
            _ask(ingress, "/bench/fan_out/send", STEPPED)
            times = jobs.take(STEPPED)
            rates.append(STEPPED / (times[-2] - times[-1]))
    # the first warms up
    meter.say("three_step_durable_runs", statistics.median(rates[1:]), "runs/s")


@contextmanager
def _server(ingress: str, admin: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="restate-") as home:
        process = subprocess.Popen(
            [os.environ["PEER_PROGRAM"], "--no-logo", "--base-dir", home, "--listen-mode", "tcp"],
            env={
                **os.environ,
                "RESTATE_BIND_ADDRESS": f"127.0.0.1:{_free_port()}",
                "RESTATE_INGRESS__BIND_ADDRESS": ingress,
                "RESTATE_ADMIN__BIND_ADDRESS": admin,
                "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": str(meter.CAPACITY),
                "RESTATE_LOG_FILTER": "error",
                "DO_NOT_TRACK": "1",
            },
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _ask(admin, "/health")
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ask(address: str, path: str, body: object = None) -> None:
    """Ask until it is answered well; raises TimeoutError."""
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(address, timeout=_PATIENCE)
        try:
            connection.request(method, path, data, {"content-type": "application/json"})
            if connection.getresponse().status < 300:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise TimeoutError(f"{address}{path} does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    if "work" in sys.argv:
        asyncio.run(work())
    else:
        drive()
