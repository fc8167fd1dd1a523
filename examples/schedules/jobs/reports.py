"""A schedule that fans out: every morning one report per customer, as a batch."""

from __future__ import annotations

from typing import TypedDict

from holdfast import ScheduledRun, batch_trigger_and_wait, item, logger, schedule, task

CUSTOMERS = [f"customer_{number}" for number in range(20)]


class Selection(TypedDict):
    """What the schedule carries: whose reports are made."""

    customers: list[str]


class Report(TypedDict):
    """What one customer's report came to."""

    customer: str
    day: str


class Request(TypedDict):
    """Which report is to be made."""

    customer: str
    day: str


@task
async def make_report(request: Request) -> Report:
    """Make one customer's report."""
    return Report(customer=request["customer"], day=request["day"])


@task(
    schedule=schedule(
        "0 6 * * *",
        timezone="Europe/Paris",
        overlap="skip",
        missed="one",
        payload=Selection(customers=CUSTOMERS),
        options={"tags": ["morning"], "ttl": "2h"},
    )
)
async def morning_reports(run: ScheduledRun[Selection]) -> list[Report]:
    """Make all reports of a morning, and wait for them without holding a slot."""
    day, customers = run.timestamp.date().isoformat(), run.payload["customers"]
    logger.info("making reports", day=day, schedule=run.schedule_id)
    items = [item("make_report", Request(customer=c, day=day), tags=[c]) for c in customers]
    reports: list[Report] = await batch_trigger_and_wait(items)
    return reports
