"""Tasks that wait, for the scenario tests."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from holdfast import Retry, ctx, metadata, on_resume, on_wait, step, task, wait


@on_wait
def note_wait() -> None:
    metadata.increment("waits")


@on_resume
def note_resume() -> None:
    metadata.increment("resumes")


@task(id="nap")
async def nap(seconds: float) -> str:
    await wait.for_(seconds=seconds)
    return "rested"


@task(id="nap_plain")
def nap_plain(seconds: float) -> str:
    wait.for_sync(seconds=seconds)
    return "rested"


@task(id="ask", retry=1)
async def ask(patience: str) -> Any:
    token = await wait.create_token(timeout=patience, tags=[ctx.run.id])
    return (await wait.for_token(token)).unwrap()


@task(id="ask_any")
async def ask_any(payload: dict[str, Any]) -> list[Any]:
    """Whichever comes first, and then the loser by itself."""
    token = await wait.create_token(timeout="1h", tags=[ctx.run.id])
    first = await wait.any_of(wait.for_token(token), wait.for_(seconds=payload["seconds"]))
    if first.index == 0:
        return ["token", first.result.unwrap()]
    return ["time", (await wait.for_token(token)).unwrap()]


@task(id="ask_all")
async def ask_all(count: int) -> list[Any]:
    tokens = [await wait.create_token(timeout="1h", tags=[ctx.run.id]) for _ in range(count)]
    results = await wait.all_of(
        *(wait.for_token(token) for token in tokens), nap.trigger_and_wait(0.2), wait.for_(0.1)
    )
    return [r.unwrap() if hasattr(r, "unwrap") else r for r in results]


@task(id="impatient")
async def impatient(payload: None = None) -> str:
    """Gives up its wait by a timer of its own, and goes on."""
    token = await wait.create_token(timeout="1h", tags=[ctx.run.id])
    try:
        async with asyncio.timeout(0.3):
            await wait.for_token(token)
    except TimeoutError:
        metadata.set("after", "gave up")
    await wait.for_(seconds=0.1)
    return "gave up"


@task(id="nap_again", retry=Retry(attempts=2, min_delay=0, jitter=False))
async def nap_again(seconds: float) -> None:
    """Waits under a name, dies, and does not wait again."""
    await wait.for_(seconds=seconds, idempotency_key="nap")
    if ctx.attempt.number == 1:
        os._exit(1)


async def echo(word: str) -> str:
    return word.upper()


@task(id="chat", durable=True)
async def chat(count: int) -> list[str]:
    """Answers what is sent to it, and goes on in another process each time."""
    return [await step(echo, (await wait.for_input("message", str)).unwrap()) for _ in range(count)]


@task(id="chat_held")
async def chat_held(count: int) -> list[str]:
    return [(await wait.for_input("message", str, timeout="1h")).unwrap() for _ in range(count)]
