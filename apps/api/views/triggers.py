"""Starting runs: one by one."""

from __future__ import annotations

from datetime import timedelta

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.headers import give_token
from apps.api.schema import errors
from apps.api.serializers.triggers import TriggerBody, TriggeredShape
from apps.api.trigger_requests import trigger_request
from apps.core.ids import public_id
from apps.runs.limits import limits
from apps.runs.operations.trigger import trigger_run

_BODY = TriggerBody()
_READ_FOR = timedelta(hours=1)


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
    @accepts(public=Public("trigger", ("tasks",), kwarg="task"))
    def post(self, request: Request, task: str) -> Response:
        now = self.now
        asked = trigger_request(
            task,
            read(_BODY, request.data),
            now=now,
            headers=request.headers,
            request_key=request.headers.get("x-trigger-request-idempotency-key"),
            token_digest=self.caller.token_digest,
        )
        triggered = trigger_run(self.scope, request=asked, now=now)
        run = public_id("run", triggered.run_id)
        answer: dict[str, object] = {"id": run, "isCached": triggered.is_cached}
        if triggered.waitpoint_id:
            answer["waitpointId"] = public_id("waitpoint", triggered.waitpoint_id)
        response = Response(answer)
        scopes = (f"read:runs:{run}", f"write:inputStreams:{run}")
        give_token(response, self.caller, scopes, lifetime=_READ_FOR, now=now)
        return response
