"""The form of the test page as a request for a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.core.durations import parse_duration, parse_moment
from apps.core.errors import Invalid
from apps.runs.operations.trigger import TriggerRequest

FIELDS = (
    "payload", "metadata", "tags", "delay", "ttl", "queue", "concurrency_key", "idempotency_key",
    "machine", "max_attempts", "max_duration", "priority", "version",
)  # fmt: skip


def read_request(task: str, values: Mapping[str, str], *, now: datetime) -> TriggerRequest:
    """What to trigger; raises Invalid that names the field."""
    text = {name: values.get(name, "").strip() for name in FIELDS}
    delay, ttl = text["delay"], text["ttl"]
    duration = text["max_duration"]
    return TriggerRequest(
        task=task,
        payload=_json(text["payload"], "payload") if text["payload"] else None,
        metadata=_object(text["metadata"]),
        tags=tuple(tag for word in text["tags"].split(",") if (tag := word.strip())),
        delay_until=parse_moment(delay, now=now, field="delay") if delay else None,
        ttl=parse_duration(ttl, field="ttl") if ttl else None,
        queue=text["queue"] or None,
        concurrency_key=text["concurrency_key"] or None,
        idempotency_key=text["idempotency_key"] or None,
        machine=text["machine"] or None,
        max_attempts=whole(text["max_attempts"], "max_attempts"),
        max_duration_seconds=(
            int(parse_duration(duration, field="max_duration").total_seconds())
            if duration
            else None
        ),
        priority_seconds=_number(text["priority"], "priority") or 0,
        version=text["version"] or None,
        is_test=True,
        source="dashboard",
    )


def _json(text: str, name: str) -> str:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid(f"The {name} is not JSON: {error}", detail={name: [str(error)]}) from None
    return json.dumps(value, separators=(",", ":"))


def _object(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    value = json.loads(_json(text, "metadata"))
    if not isinstance(value, dict):
        raise Invalid("The metadata is not an object", detail={"metadata": ["not an object"]})
    return value


def _number(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(f"{name} is not a number", detail={name: ["not a number"]})
    return number


def whole(text: str, name: str) -> int | None:
    """A whole number, None for an empty field; raises Invalid."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Invalid(f"{name} is not a whole number", detail={name: ["not a whole number"]})
    return int(text)
