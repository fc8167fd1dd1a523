"""Starting runs: one by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint
from apps.api.errors import BadRequest
from apps.api.schema import errors
from apps.api.serializers.triggers import (
    TriggerAnswersShape,
    TriggerBody,
    TriggerCallsBody,
    TriggeredShape,
)
from apps.api.triggering import ACCESS, Call, answer_together, read_call, shape, tell_token
from apps.orgs.permissions import Permission
from apps.runs.limits import limits
from apps.runs.operations.trigger import trigger_run

_MOST_CALLS = 1_000
# What holds for all calls of a request, and what each may say for itself.
_SHARED = ("authorization", "x-trigger-branch", "x-trigger-source")
_OWN = {
    "traceparent", "idempotency-key", "idempotency-key-ttl", "x-trigger-request-idempotency-key",
}  # fmt: skip


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
    @accepts(public=ACCESS.public, member=Permission.RUNS_TRIGGER)
    def post(self, request: Request, task: str) -> Response:
        now = self.now
        asked = read_call(self.caller, task, request.data, headers=request.headers, now=now)
        triggered = trigger_run(self.scope, request=asked, now=now)
        response = Response(shape(triggered))
        tell_token(response, self.caller, triggered, now=now)
        return response


class TriggerList(Endpoint):
    """Tasks, to be run; what many programs at once ask for one by one."""

    body_limit = 64 * 1024 * 1024

    @extend_schema(
        operation_id="trigger_tasks",
        summary="Trigger tasks, each as if alone",
        description="For clients that have several triggers to make at the same moment. Each is "
        "accepted or refused by itself; what is accepted is accepted in one transaction.",
        request=TriggerCallsBody,
        responses={200: TriggerAnswersShape, **errors(400, 401, 403, 413)},
        examples=[
            OpenApiExample(
                "Two", value={"calls": [{"task": "a"}, {"task": "b"}]}, request_only=True
            )
        ],
    )
    @accepts(public=Public("trigger", ("tasks",)))
    def post(self, request: Request) -> Response:
        calls = list(_calls(request))
        if len(calls) > _MOST_CALLS:
            raise BadRequest(f"calls: at most {_MOST_CALLS} at once")
        replies = answer_together(calls)
        return Response(
            {
                "answers": [
                    {"status": each.status, "headers": each.headers, "body": each.body}
                    for each in replies
                ]
            }
        )


def _calls(request: Request) -> Iterator[Call]:
    """The calls of one request; their own bodies are read when each is answered."""
    found = request.data.get("calls") if isinstance(request.data, dict) else None
    if not isinstance(found, list) or not found:
        raise BadRequest("calls: a list of triggers is required")
    shared = {name: request.headers[name] for name in _SHARED if name in request.headers}
    for number, call in enumerate(found):
        match call:
            case {"task": str(task), "headers": {} as own}:
                pass
            case {"task": str(task)}:
                own = {}
            case _:
                raise BadRequest(f"calls.{number}: a task is required")
        if not all(isinstance(value, str) for value in own.values()):
            raise BadRequest(f"calls.{number}.headers: must be strings")
        kept = {name: value for name, value in own.items() if name in _OWN}
        body = {name: call[name] for name in ("payload", "options") if name in call}
        yield Call(task=task, headers={**shared, **kept}, body=partial(dict, body))
