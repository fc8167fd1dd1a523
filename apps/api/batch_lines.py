"""The items of a batch as they arrive: what many have in common is read and checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from apps.api.endpoint import read
from apps.api.serializers.triggers import BatchItemBody
from apps.api.trigger_requests import JSON, packet_of, trigger_request
from apps.runs.operations.batch import BatchItemRequest
from apps.runs.operations.trigger import TriggerRequest

_ITEM = BatchItemBody()
_MOST_KNOWN = 1_000

_Shape = tuple[str, bool, bool, str]


class ItemReader:
    """Reads items; those of one shape, which differ in nothing but payload and index, share the
    request of the first.

    `require` raises when the caller may not trigger a task.
    """

    def __init__(
        self, *, require: Callable[[str], None], headers: Mapping[str, str], now: datetime
    ) -> None:
        self._require, self._headers, self._now = require, headers, now
        # by shape: how payloads are encoded, and the request without one
        self._known: dict[_Shape, tuple[str, TriggerRequest]] = {}

    def read(self, body: Any) -> BatchItemRequest:
        """One item; raises ValidationError and DomainError."""
        shape = _shape(body)
        if shape is None:
            return self._alone(read(_ITEM, body))
        if shape not in self._known:
            self._learn(shape, read(_ITEM, body))
        kind, request = self._known[shape]
        return BatchItemRequest(
            index=body["index"], request=request, payload=packet_of(body, kind)[0]
        )

    def _alone(self, item: Mapping[str, Any]) -> BatchItemRequest:
        self._require(item["task"])
        request = trigger_request(item["task"], item, now=self._now, headers=self._headers)
        return BatchItemRequest(index=item["index"], request=request)

    def _learn(self, shape: _Shape, item: Mapping[str, Any]) -> None:
        self._require(item["task"])
        kind = (item.get("options") or {}).get("payloadType") or JSON
        request = trigger_request(
            item["task"], item, now=self._now, headers=self._headers, payload=None
        )
        if len(self._known) == _MOST_KNOWN:
            self._known.clear()
        self._known[shape] = kind, request


def _shape(body: Any) -> _Shape | None:
    """What the request of an item depends on; None when the item has to be looked at by itself."""
    if type(body) is not dict or type(body.get("task")) is not str:
        return None
    index, options = body.get("index"), body.get("options")
    if type(index) is not int or index < 0:
        return None
    if type(options) is dict and "payloadSize" in options:
        # it is as long as its payload says, and counts for nothing
        options = dict(options)
        size = options.pop("payloadSize")
        if type(size) is not int or size < 0:
            return None
    try:
        written = repr(options)
    except RecursionError:
        return None
    return body["task"], "payload" in body, isinstance(body.get("payload"), str), written
