"""The form of a schedule: its fields as a request, and a schedule as its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from apps.core.durations import parse_moment
from apps.core.errors import DomainError
from apps.dashboard.run_requests import FIELDS as RUN_FIELDS
from apps.dashboard.run_requests import read_request, whole
from apps.schedules.carried import carried
from apps.schedules.operations.manage import ScheduleRequest
from holdfast import packets

OF_RUNS = (
    "payload", "metadata", "tags", "ttl", "queue", "concurrency_key", "machine", "max_attempts",
    "max_duration", "priority",
)  # fmt: skip
FIELDS = (
    "task", "cron", "every", "at", "timezone", "window", "jitter", "overlap", "missed",
    "missed_limit", "external_id", *OF_RUNS,
)  # fmt: skip
BEGUN = {"timezone": "UTC", "overlap": "allow", "missed": "one"}
_SPELLED = {
    "concurrencyKey": "concurrency_key",
    "maxAttempts": "max_attempts",
    "maxDuration": "max_duration",
    "missedLimit": "missed_limit",
    "externalId": "external_id",
}


def read_schedule(
    values: Mapping[str, str], *, now: datetime, known: Any = None
) -> ScheduleRequest:
    """What the schedule is to be; raises Invalid that names the field.

    A payload that is left as it was shown stays the packet that it is.
    """
    of_runs = {name: values[name] if name in OF_RUNS else "" for name in RUN_FIELDS}
    asked = read_request(values["task"], of_runs, now=now)
    got = carried(asked)
    if known is not None and asked.payload and _plain(known) == json.loads(asked.payload):
        got |= {"payload": known.payload, "payload_type": known.payload_type}
    once = values["at"]
    return ScheduleRequest(
        task=values["task"],
        cron=values["cron"] or None,
        interval_seconds=whole(values["every"], "every"),
        once_at=parse_moment(once, now=now, field="at") if once else None,
        timezone=values["timezone"] or BEGUN["timezone"],
        window=values["window"],
        jitter_seconds=whole(values["jitter"], "jitter") or 0,
        overlap=values["overlap"] or BEGUN["overlap"],
        missed=values["missed"] or BEGUN["missed"],
        missed_limit=whole(values["missed_limit"], "missed_limit") or 1,
        external_id=values["external_id"] or None,
        **got,
    )


def shown_schedule(schedule: Any) -> dict[str, str]:
    """The fields of a schedule that is there."""
    options = schedule.options or {}
    once = schedule.once_at
    return {
        "task": schedule.task,
        "cron": schedule.cron or "",
        "every": str(schedule.interval_seconds or ""),
        "at": once.astimezone(UTC).isoformat().replace("+00:00", "Z") if once else "",
        "timezone": schedule.timezone,
        "window": schedule.window,
        "jitter": str(schedule.jitter_seconds or ""),
        "overlap": schedule.overlap,
        "missed": schedule.missed,
        "missed_limit": str(schedule.missed_limit) if schedule.missed_limit > 1 else "",
        "external_id": schedule.external_id or "",
        "payload": "" if schedule.payload is None else _pretty(_plain(schedule)),
        "metadata": _pretty(options["metadata"]) if "metadata" in options else "",
        "tags": ", ".join(options.get("tags", ())),
        "ttl": f"{options['ttl']}s" if "ttl" in options else "",
        "queue": options.get("queue", ""),
        "concurrency_key": options.get("concurrencyKey", ""),
        "machine": options.get("machine", ""),
        "max_attempts": str(options.get("maxAttempts", "")),
        "max_duration": f"{options['maxDuration']}s" if "maxDuration" in options else "",
        "priority": f"{options['priority']:g}" if "priority" in options else "",
    }


def reasons(error: DomainError) -> dict[str, list[str]]:
    """What is wrong, by the field it is shown at; `problem` when it is none of them."""
    spelled = {_SPELLED.get(name, name) for name in error.detail}
    named = [name for name in FIELDS if name in spelled]
    return {name: [error.message] for name in named} or {"problem": [error.message]}


def _plain(schedule: Any) -> Any:
    return packets.plain(schedule.payload, schedule.payload_type or packets.JSON)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
