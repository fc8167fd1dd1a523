"""From the body of a trigger to the request that the engine understands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from rest_framework.exceptions import ValidationError

from apps.api.errors import BadRequest, NotImplementedHere
from apps.api.serializers.base import ObjectField, is_storable
from apps.core.durations import parse_duration, parse_moment
from apps.core.errors import Invalid
from apps.runs.operations.trigger import TriggerRequest
from apps.runs.policy import Debounce
from apps.runs.states import Overlap
from holdfast import packets

_REFUSED = {
    "externalDeploymentId": "options.externalDeploymentId is not supported yet; use lockToVersion",
}
# The keys of a replay that say something about the run, and the field of the request each is.
_REPLAYED = {
    "metadata": "metadata",
    "tags": "tags",
    "queue": "queue",
    "concurrencyKey": "concurrency_key",
    "machine": "machine",
    "version": "version",
    "delay": "delay_until",
    "ttl": "ttl",
    "idempotencyKey": "idempotency_key",
    "idempotencyKeyTTL": "idempotency_ttl",
    "maxAttempts": "max_attempts",
    "maxDuration": "max_duration_seconds",
    "priority": "priority_seconds",
    "test": "is_test",
}
_STORED = "application/store"
JSON = "application/json"
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_OBJECT = ObjectField()
_LONGEST_SECONDS = 3_650 * 86_400


def trigger_request(
    task: str, body: Mapping[str, Any], *, now: datetime, headers: Mapping[str, str], **more: Any
) -> TriggerRequest:
    """The request for one run; `more` is what the route knows besides the body."""
    options = body.get("options") or {}
    for name, sentence in _REFUSED.items():
        if options.get(name):
            raise NotImplementedHere(sentence)
    payload, payload_type = packet_of(body, options.get("payloadType") or JSON)
    return TriggerRequest(
        **{
            "task": task,
            "payload": payload,
            "payload_type": payload_type,
            "traceparent": headers.get("traceparent"),
            "source": headers.get("x-trigger-source", "api"),
            **_placement(options),
            **_times(options, now),
            **_joining(options),
            **_idempotency(options, headers),
            **_labels(options),
            **more,
        }
    )


def packet_of(body: Mapping[str, Any], kind: str) -> tuple[str | None, str]:
    """The packet of a payload: text in its own encoding stays, any other value becomes JSON."""
    if "payload" not in body:
        return None, JSON if kind == _STORED else kind
    value = body["payload"]
    if kind == _STORED and not (isinstance(value, str) and value):
        raise BadRequest("payload must be the path of a stored packet for application/store")
    if kind == JSON or not isinstance(value, str):
        return _COMPACT.encode(value), JSON
    if not is_storable(value):
        raise BadRequest("payload contains a NUL character or half of a surrogate pair")
    return value, kind


def _placement(options: Mapping[str, Any]) -> dict[str, Any]:
    duration = options.get("maxDuration")
    return {
        "queue": (options.get("queue") or {}).get("name"),
        "concurrency_key": options.get("concurrencyKey"),
        "machine": options.get("machine"),
        "version": options.get("lockToVersion"),
        "max_attempts": options.get("maxAttempts"),
        "max_duration_seconds": None if duration is None else math.ceil(duration),
        "priority_seconds": options.get("priority", 0),
        "parent_run_id": options.get("parentRunId"),
        "resume_parent": options.get("resumeParentOnCompletion", False),
    }


def _times(options: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    delay, ttl = options.get("delay"), options.get("ttl")
    return {
        "delay_until": None if delay is None else parse_moment(delay, now=now, field="delay"),
        "ttl": None if ttl is None else lifetime(ttl, field="ttl"),
    }


def _joining(options: Mapping[str, Any]) -> dict[str, Any]:
    """How it joins a run that is there, instead of starting another."""
    debounce, overlap = options.get("debounce"), options.get("overlap")
    if debounce is not None:
        longest = debounce.get("maxDelay")
        debounce = Debounce(
            key=debounce["key"],
            delay=lifetime(debounce["delay"], field="debounce.delay"),
            is_trailing=debounce.get("mode") == "trailing",
            max_delay=None if longest is None else lifetime(longest, field="debounce.maxDelay"),
        )
    return {"debounce": debounce, "overlap": overlap and Overlap(overlap)}


def lifetime(text: str, *, field: str) -> timedelta:
    """A duration, also in plain seconds; raises Invalid."""
    try:
        seconds = float(text)
    except ValueError:
        return parse_duration(text, field=field)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise Invalid(
            f"{field} must be between 0 seconds and 10 years", detail={field: ["out of range"]}
        )
    return timedelta(seconds=seconds)


def _idempotency(options: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    lifetime_text = options.get("idempotencyKeyTTL") or headers.get("idempotency-key-ttl")
    return {
        "idempotency_key": options.get("idempotencyKey") or headers.get("idempotency-key"),
        "idempotency_ttl": (
            parse_duration(lifetime_text, field="idempotencyKeyTTL") if lifetime_text else None
        ),
        "idempotency_options": options.get("idempotencyKeyOptions"),
    }


def _labels(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tags": options.get("tags", ()),
        "metadata": _metadata(options),
        "is_test": options.get("test", False),
    }


def _metadata(options: Mapping[str, Any]) -> dict[str, Any] | None:
    if (value := options.get("metadata")) is None:
        return None
    if isinstance(value, str):
        try:
            value = packets.plain(value, options.get("metadataType") or JSON)
        except packets.PacketError as error:
            raise BadRequest(f"options.metadata: {error}") from None
    try:
        found: dict[str, Any] = _OBJECT.run_validation(value)
    except ValidationError as error:
        raise ValidationError({"options": {"metadata": error.detail}}) from None
    return found


def replay_overrides(body: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """What of a run is to differ in its replay, by the field of the request."""
    asked = trigger_request("", {**_replay_body(body)}, now=now, headers={})
    given = {_REPLAYED[name] for name in body if name in _REPLAYED}
    if "payload" in body:
        given |= {"payload", "payload_type"}
    return {name: getattr(asked, name) for name in given}


def _replay_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A replay has at its top what a trigger has among its options."""
    options = {name: value for name, value in body.items() if name != "payload"}
    if "version" in options:
        options["lockToVersion"] = options.pop("version")
    if isinstance(options.get("queue"), str):
        options["queue"] = {"name": options["queue"]}
    payload = {"payload": body["payload"]} if "payload" in body else {}
    return {**payload, "options": options}
