"""An expense that a person approves: one run that waits for days and holds no slot."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pydantic

from holdfast import ctx, logger, metadata, task, wait

REMIND_AFTER = timedelta(days=1)
GIVE_UP_AFTER = timedelta(days=3)


class Expense(pydantic.BaseModel):
    """What somebody wants to have paid."""

    employee: str
    amount: float


class Decision(pydantic.BaseModel):
    """What an approver says: the body of the form, or of the call back."""

    approved: bool
    by: str


@task(id="approve-expense", retry=1)
async def approve_expense(expense: Expense) -> str:
    """Ask both approvers at once; the first refusal, or silence for three days, decides."""
    metadata.set("state", "asking")
    answers = await asyncio.gather(ask(expense, "the manager"), ask(expense, "the bookkeeper"))
    for answer in answers:
        if answer is None or not answer.approved:
            metadata.set("state", "refused")
            return "nobody answered" if answer is None else f"refused by {answer.by}"
    metadata.set("state", "paying")
    return str(await pay.trigger_and_wait(expense))


async def ask(expense: Expense, approver: str) -> Decision | None:
    """One approver's decision, after a reminder if need be; None when there is none."""
    token = await wait.create_token(
        timeout=GIVE_UP_AFTER, tags=[approver], idempotency_key=f"ask {approver}"
    )
    await send(approver, f"Approve {expense.amount:.2f} for {expense.employee}? {token.url}")
    first = await wait.any_of(wait.for_token(token, Decision), wait.for_(REMIND_AFTER))
    if first.result is None:  # the time came first
        await send(approver, f"Still waiting for you: {token.url}")
        return (await wait.for_token(token, Decision)).output
    return first.result.output


async def send(approver: str, text: str) -> None:
    """Stands for a mail or a chat message with a link, or with buttons that post to the link."""
    logger.info(text, to=approver)
    metadata.append("sent", approver)


@task(id="pay-expense")
async def pay(expense: Expense) -> str:
    """Stands for the bank."""
    return f"paid {expense.amount:.2f} to {expense.employee} ({ctx.run.id})"
