"""A text that is written, and rewritten with each remark, until somebody approves it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pydantic

from holdfast import metadata, step, task, wait

PATIENCE = timedelta(days=7)
REMIND_AFTER = timedelta(days=1)


class Remark(pydantic.BaseModel):
    """What a reviewer sends; more than one may come while the text is being rewritten."""

    verdict: Literal["approve", "change", "reject"]
    text: str = ""


class Review(pydantic.BaseModel):
    """How a review ended."""

    text: str
    rounds: int
    verdict: str


@task(id="review-text", durable=True)
async def review_text(topic: str) -> Review:
    """Write about a topic, and take remarks in their order until one approves or rejects."""
    text = await step(write, topic)
    rounds = 0
    while True:
        metadata.set("text", text)
        remark = await next_remark()
        if remark is None:
            return Review(text=text, rounds=rounds, verdict="nobody answered")
        if remark.verdict != "change":
            return Review(text=text, rounds=rounds, verdict=remark.verdict)
        text = await step(rewrite, text, remark.text)
        rounds += 1


async def next_remark() -> Remark | None:
    """The next remark, after a reminder if need be; None when none has come for a week."""
    first = await wait.any_of(wait.for_input("remark", Remark), wait.for_(REMIND_AFTER))
    if first.result is not None:
        return first.result.output
    metadata.increment("reminders")
    return (await wait.for_input("remark", Remark, timeout=PATIENCE - REMIND_AFTER)).output


async def write(topic: str) -> str:
    """Stands for a model that takes a minute and costs money: it is asked once."""
    return f"About {topic}."


async def rewrite(text: str, wish: str) -> str:
    """Stands for the same model."""
    return f"{text} {wish.capitalize()}."
