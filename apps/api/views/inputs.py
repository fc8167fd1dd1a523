"""Inputs of runs: sent by a key or in a browser, and waited for by a run's own code."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.inputs import (
    InputWaitBody,
    InputWaitShape,
    SendInputBody,
    SentInputShape,
)
from apps.core.durations import parse_duration, parse_moment
from apps.core.ids import parse_public_id
from apps.orgs.permissions import Permission
from apps.runs.limits import limits
from apps.runs.operations.inputs import Item, WaitRequest, create_input_wait, send_input

_SEND = SendInputBody()
_WAIT = InputWaitBody()
_JSON = "application/json"
_BODY_LIMIT = 2 * limits().input_bytes + 64 * 1024


class RunInput(Endpoint):
    """One input of a run."""

    body_limit = _BODY_LIMIT

    @extend_schema(
        operation_id="send_input",
        summary="Send an item to an input of an open run",
        description="It is kept until the run takes it, also while the run waits for nothing yet.",
        parameters=[
            OpenApiParameter(
                "X-Part-Id", str, OpenApiParameter.HEADER,
                description="A name for the item: the same one is kept once.",
            )
        ],
        request=SendInputBody,
        responses={200: SentInputShape, **errors(400, 401, 403, 404, 413, 422)},
        examples=[
            OpenApiExample("Approved", value={"data": {"approved": True}}, request_only=True)
        ],
    )  # fmt: skip
    @accepts(public=Public("write", ("inputStreams",), "run"), member=Permission.RUNS_WRITE)
    def post(self, request: Request, run: str, key: str) -> Response:
        sent = send_input(
            self.scope,
            run_id=parse_public_id("run", run),
            item=_item(key, read(_SEND, request.data), request.headers.get("x-part-id")),
            now=self.now,
        )
        return Response({"ok": True, "seq": sent.seq, "isCached": sent.is_cached})


class RunInputWait(Endpoint):
    """What a running task waits for: an item of an input."""

    @extend_schema(
        operation_id="wait_for_input",
        summary="Make a waitpoint for the next item of a run's input",
        description="It is completed at once when the item is there already.",
        request=InputWaitBody,
        responses={200: InputWaitShape, **errors(400, 401, 404, 422)},
        examples=[
            OpenApiExample("Approval", value={"streamId": "approval", "timeout": "3d"},
                           request_only=True)
        ],
    )  # fmt: skip
    def post(self, request: Request, run: str) -> Response:
        body, now = read(_WAIT, request.data), self.now
        timeout, ttl = body.get("timeout"), body.get("idempotencyKeyTTL")
        made = create_input_wait(
            self.scope,
            run_id=parse_public_id("run", run),
            request=WaitRequest(
                key=body["streamId"],
                seq=body.get("lastSeqNum", -1) + 1,
                due_at=parse_moment(timeout, now=now, field="timeout") if timeout else None,
                tags=body.get("tags", ()),
                idempotency_key=body.get("idempotencyKey"),
                idempotency_ttl=parse_duration(ttl, field="idempotencyKeyTTL") if ttl else None,
            ),
            now=now,
        )
        return Response(InputWaitShape(made).data)


def _item(key: str, body: dict[str, Any], part: str | None) -> Item:
    if "dataType" in body:
        return Item(key=key, data=body["data"], data_type=body["dataType"], part=part)
    return Item(key=key, data=json.dumps(body.get("data")), data_type=_JSON, part=part)
