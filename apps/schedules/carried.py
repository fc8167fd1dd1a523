"""What the runs of a schedule get besides its times: a payload, and what a trigger may say.

Options are kept as a trigger writes them, durations in seconds, and become a trigger's request
again at each tick: what they mean and whether they are right is decided in one place, the trigger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from apps.core.errors import DomainError, Invalid
from apps.environments.scope import Scope
from apps.runs.operations.requests import TriggerRequest
from apps.runs.operations.trigger import refusals
from apps.runs.policy import storable
from apps.schedules import policy
from apps.schedules.limits import limits
from apps.schedules.models import Schedule
from holdfast import packets

# The options that a schedule takes, by their names on the wire, and the field of the request.
OPTIONS = {
    "queue": "queue",
    "concurrencyKey": "concurrency_key",
    "ttl": "ttl",
    "tags": "tags",
    "metadata": "metadata",
    "machine": "machine",
    "maxAttempts": "max_attempts",
    "maxDuration": "max_duration_seconds",
    "priority": "priority_seconds",
}
_TYPES = (packets.JSON, packets.SUPERJSON, packets.TEXT)
_NOTHING = TriggerRequest(task="")


def carried(asked: TriggerRequest) -> dict[str, Any]:
    """What of a trigger a schedule carries, as the fields of a ScheduleRequest."""
    values = {name: getattr(asked, field) for name, field in OPTIONS.items()}
    plain = {name: getattr(_NOTHING, field) for name, field in OPTIONS.items()}
    given = {name: value for name, value in values.items() if value != plain[name]}
    if "ttl" in given:
        given["ttl"] = math.ceil(given["ttl"].total_seconds())
    if "tags" in given:
        given["tags"] = list(given["tags"])
    return {"payload": asked.payload, "payload_type": asked.payload_type, "options": given}


def kept(payload: str | None, payload_type: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of what a schedule carries."""
    return {
        "payload": payload,
        "payload_type": None if payload is None else payload_type,
        "options": storable(dict(options)) or None,
    }


def check_carried(schedule: Schedule) -> None:
    """Raise Invalid when this is more than a schedule can carry, or a payload that is none."""
    most = limits().carried_bytes
    size = len((schedule.payload or "").encode(errors="replace"))
    size += len(json.dumps(schedule.options)) if schedule.options else 0
    if size > most:
        raise Invalid(
            f"the payload and the options of a schedule may have {most} bytes, these have {size}",
            detail={"payload": ["too large"]},
        )
    if schedule.payload is not None:
        _check_packet(schedule.payload, schedule.payload_type or packets.JSON)


def _check_packet(payload: str, payload_type: str) -> None:
    if payload_type not in _TYPES:
        raise Invalid(
            f"a schedule keeps its payload itself, as one of {', '.join(_TYPES)}",
            detail={"payload": [f"is {payload_type}"]},
        )
    try:
        packets.decode(payload, payload_type)
    except packets.PacketError as error:
        raise Invalid(f"the payload is {error}", detail={"payload": [str(error)]}) from None


def request_for(schedule: Schedule, at: datetime, latest_at: datetime | None) -> TriggerRequest:
    """The run for one nominal time of a schedule; raises Invalid when what it carries is broken."""
    try:
        payload = policy.payload(schedule.described, at=at, latest_at=latest_at)
        options = _options(schedule.options or {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(f"what the schedule carries cannot be read: {error}") from None
    return TriggerRequest(
        task=schedule.task,
        payload=payload,
        payload_type=packets.SUPERJSON,
        source="schedule",
        schedule_id=schedule.pk,
        **options,
    )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {field: given[name] for name, field in OPTIONS.items() if given.get(name) is not None}
    if "ttl" in fields:
        fields["ttl"] = timedelta(seconds=fields["ttl"])
    if "tags" in fields:
        fields["tags"] = tuple(fields["tags"])
    return fields


def refusal(scope: Scope, schedule: Schedule, *, now: datetime) -> DomainError | None:
    """Why the run of its next time would be refused, as far as a look without a trigger tells."""
    try:
        request = request_for(schedule, schedule.next_at or now, schedule.latest_at)
    except DomainError as error:
        return error
    return refusals(scope, requests=[request])[0]
