"""Starting runs: one by one."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint
from apps.api.schema import errors
from apps.api.serializers.triggers import TriggerBody, TriggeredShape
from apps.api.triggering import ACCESS, read_call, shape, tell_token
from apps.runs.limits import limits
from apps.runs.operations.trigger import trigger_run


class TriggerTask(Endpoint):
    """A task, to be run."""

    # A payload at its limit, every character of it escaped, and the options.
    body_limit = 2 * limits().payload_bytes + 1024 * 1024

    @extend_schema(
        operation_id="trigger_task",
        summary="Trigger a task",
        request=TriggerBody,
        responses={200: TriggeredShape, **errors(400, 401, 403, 413, 422, 429)},
        examples=[
            OpenApiExample(
                "Trigger",
                value={
                    "payload": {"to": "alice@example.com"},
                    "options": {"tags": ["user_1"], "delay": "10m", "idempotencyKey": "mail-1"},
                },
                request_only=True,
            ),
            OpenApiExample(
                "Triggered",
                value={"id": "run_06ekzj5sn9vkt2v7c5hjf3e8mc", "isCached": False},
                response_only=True,
            ),
        ],
    )
    @accepts(public=ACCESS.public)
    def post(self, request: Request, task: str) -> Response:
        now = self.now
        asked = read_call(self.caller, task, request.data, headers=request.headers, now=now)
        triggered = trigger_run(self.scope, request=asked, now=now)
        response = Response(shape(triggered))
        tell_token(response, self.caller, triggered, now=now)
        return response
