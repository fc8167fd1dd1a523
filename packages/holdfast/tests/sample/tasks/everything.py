# ruff: noqa: ASYNC220, ASYNC230, ASYNC240, ASYNC251, T201 -- these tasks are bad on purpose
"""Tasks that the worker's tests run: good ones, and one for each way to go wrong."""

import asyncio
import ctypes
import logging
import os
import socket
import subprocess
import sys
import time
from contextvars import ContextVar

import pydantic

from holdfast import (
    Abort,
    Retry,
    ctx,
    item,
    logger,
    metadata,
    step,
    task,
    trigger_and_wait,
    wait,
)
from holdfast.triggering import batch_trigger_and_wait

QUICK = Retry(attempts=3, min_delay=0.01, max_delay=0.02)


class Order(pydantic.BaseModel):
    id: int
    items: list[str] = []


@task
async def noop() -> None:
    pass


@task
async def echo(value: object) -> object:
    return value


@task
def shout(word: str) -> dict[str, object]:
    return {"word": word.upper(), "run": ctx.run.id, "attempt": ctx.attempt.number}


@task
async def typed(order: Order) -> int:
    return len(order.items)


@task(retry=QUICK)
async def fails_twice() -> int:
    if ctx.attempt.number < 3:
        raise ValueError(f"attempt {ctx.attempt.number}")
    return ctx.attempt.number


@task
async def aborts() -> None:
    raise Abort("no use")


@task
async def who() -> int:
    return os.getpid()


_mark: ContextVar[str | None] = ContextVar("mark", default=None)


@task
async def marks(mark: str) -> str | None:
    """What the run before has left in a context variable, and leaves something there."""
    before = _mark.get()
    _mark.set(mark)
    return before


@task(retry=1)
async def notes(path: str) -> int:
    """Writes down that it was executed."""
    with open(path, "a") as file:
        file.write(f"{ctx.run.id} {os.getpid()}\n")
    await asyncio.sleep(0.002)
    return os.getpid()


@task(isolation="run")
async def who_alone() -> int:
    return os.getpid()


@task
async def talks() -> None:
    print("printed")
    logging.getLogger("mine").warning("logged %s", 1)
    logger.info("said", order=7)
    with logger.span("step", n=1):
        logger.info("inside")
    metadata.set("progress", 1)
    metadata.increment("progress")


@task
async def parent(words: list[str]) -> list[str]:
    return await asyncio.gather(*(trigger_and_wait("echo", word) for word in words))


@task
def plain_parent(word: str) -> str:
    return echo.trigger_and_wait_sync(word)


@task
async def batch_parent(words: list[str]) -> list[str]:
    return await batch_trigger_and_wait([item("echo", word) for word in words])


@task
async def sleeps(seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        logger.info("cleaning up")
        raise
    return "slept"


@task
def waits_for_cancel() -> str:
    ctx.canceled.wait(30)
    return "stopped"


@task
async def ignores_cancel() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@task
async def spins() -> None:
    while True:
        pass


@task(retry=QUICK)
async def exits(status: int) -> None:
    sys.exit(status)


@task(retry=QUICK)
async def exits_hard(status: int) -> None:
    os._exit(status)


@task(retry=1)
async def takes_and_dies() -> None:
    """Dies like a process that has taken a run from the tray and has not said so yet."""
    for name in os.listdir("/proc/self/fd"):
        try:
            end = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if end.type == socket.SOCK_SEQPACKET:
            end.recv(65_536)
    os._exit(9)


@task(retry=1)
async def segfaults() -> None:
    ctypes.string_at(0)


@task(retry=1)
async def eats_memory() -> int:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1024) * 1024 * 16))
        await asyncio.sleep(0.005)


@task(retry=1)
async def fork_bomb() -> None:
    while True:
        if os.fork() == 0:
            while True:
                try:
                    if os.fork() == 0:
                        continue
                except OSError:
                    pass
                time.sleep(0.001)


@task(retry=1)
async def takes_two_cpus(path: str) -> list[int]:
    """Keeps two processes busy until a file appears; where the other might run by then."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    while not os.path.exists(path):
        pass
    where = sorted(os.sched_getaffinity(other.pid))
    other.kill()
    other.wait()
    return where


@task(retry=1)
async def leaves_children(path: str) -> None:
    escaped = subprocess.Popen(["sleep", "300"], start_new_session=True)
    child = subprocess.Popen(["sh", "-c", "sleep 301 & sleep 302"])
    with open(path, "w") as file:
        file.write(f"{escaped.pid} {child.pid}")
    os._exit(9)


@task(retry=1)
async def kills_its_parent() -> None:
    os.kill(os.getppid(), 9)
    await asyncio.sleep(30)


@task
async def leaves_a_loop_running(path: str) -> None:
    async def write_for_ever() -> None:
        while True:
            with open(path, "a") as file:
                file.write(".")
            await asyncio.sleep(0.01)

    globals()["_stray"] = asyncio.create_task(write_for_ever())
    await asyncio.sleep(0.05)


@task
async def is_stray_over() -> bool:
    await asyncio.sleep(0)
    return globals()["_stray"].done()


@task(durable=True, retry=1)
async def sleeps_for_a_day() -> None:
    await step(_nothing)
    await wait.for_(days=1)


async def _nothing() -> None:
    return None
