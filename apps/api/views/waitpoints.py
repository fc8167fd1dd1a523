"""Tokens: made, looked at, and completed by a key, in a browser, or by a call back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest, LengthRequired, Unauthorized
from apps.api.headers import give_token
from apps.api.paging import CURSOR_PARAMETERS, cursor_page, pagination
from apps.api.run_filters import FilterReader, moment
from apps.api.schema import errors
from apps.api.serializers.environments import SuccessShape
from apps.api.serializers.waitpoints import (
    TOKEN_STATUSES,
    CompleteTokenBody,
    CreatedTokenShape,
    CreateTokenBody,
    TimeWaitBody,
    TimeWaitShape,
    TokenDetailShape,
    TokenItemShape,
    TokenPageShape,
)
from apps.core.crypto import is_signature, signature
from apps.core.durations import parse_duration, parse_moment
from apps.core.ids import parse_public_id, public_id
from apps.environments import public_tokens
from apps.orgs.permissions import Permission
from apps.runs import queries
from apps.runs.limits import limits
from apps.runs.operations.waitpoints import (
    block_run,
    block_until,
    complete_called_back,
    complete_token,
    create_token,
)
from apps.runs.states import WaitpointStatus

_CREATE = CreateTokenBody()
_COMPLETE = CompleteTokenBody()
_TIME = TimeWaitBody()
_BODY_LIMIT = 2 * limits().payload_bytes + 1024 * 1024
_JSON = "application/json"
_DONE = {"success": True}
_COMPLETE_FOR = timedelta(days=1)
_CALLBACK = "token callback"

_FILTERS = [
    OpenApiParameter(
        f"filter[{name}]", str, description=description
    )
    for name, description in (
        ("status", f"Of {', '.join(TOKEN_STATUSES)}; several are separated by commas."),
        ("idempotencyKey", "The key that it was made with."),
        ("tags", "Tags, separated by commas; a token has at least one of them."),
        ("createdAt][period", "How far back, such as 7d."),
        ("createdAt][from", "ISO 8601, or milliseconds since 1970."),
        ("createdAt][to", "ISO 8601, or milliseconds since 1970."),
    )
]  # fmt: skip


class TokenList(Endpoint):
    """The tokens of an environment."""

    @extend_schema(
        operation_id="list_tokens",
        summary="List tokens, newest first",
        parameters=[*CURSOR_PARAMETERS, *_FILTERS],
        responses={200: TokenPageShape, **errors(400, 401)},
    )
    @accepts(member=Permission.RUNS_READ)
    def get(self, request: Request) -> Response:
        now, query = self.now, request.query_params
        page = queries.list_tokens(self.scope, _filters(query, now=now), cursor_page(query))
        shown = [_with_url(TokenItemShape, token, self.base) for token in page.items]
        return Response({"data": shown, "pagination": pagination(page, now=now)})

    @extend_schema(
        operation_id="create_token",
        summary="Make a token that runs may wait for",
        request=CreateTokenBody,
        responses={200: CreatedTokenShape, **errors(400, 401, 422, 429)},
        examples=[
            OpenApiExample("Approval", value={"timeout": "3d", "tags": "post:7"}, request_only=True)
        ],
    )
    @accepts(member=Permission.WAITPOINTS_WRITE)
    def post(self, request: Request) -> Response:
        body, now = read(_CREATE, request.data), self.now
        created = create_token(
            self.scope,
            timeout_at=_timeout(body.get("timeout"), now),
            tags=body.get("tags", ()),
            idempotency_key=body.get("idempotencyKey"),
            idempotency_ttl=_life(body.get("idempotencyKeyTTL")),
            now=now,
        )
        identifier = public_id("waitpoint", created.waitpoint_id)
        scopes = [f"write:waitpoints:{identifier}"]
        response = Response(
            {
                "id": identifier,
                "isCached": created.is_cached,
                "url": _callback_url(self.base, created.waitpoint_id),
                "publicAccessToken": public_tokens.sign(
                    self.scope.environment_id, scopes, lifetime=_COMPLETE_FOR, now=now
                ),
            }
        )
        give_token(response, self.caller, scopes, lifetime=_COMPLETE_FOR, now=now)
        return response


class TokenDetail(Endpoint):
    """One token."""

    @extend_schema(
        operation_id="retrieve_token",
        summary="Retrieve a token, and what it was completed with",
        responses={200: TokenDetailShape, **errors(401, 403, 404)},
    )
    @accepts(public=Public("read", ("waitpoints",), "token"), member=Permission.RUNS_READ)
    def get(self, request: Request, token: str) -> Response:
        found = queries.get_token(self.scope, parse_public_id("waitpoint", token))
        return Response(_with_url(TokenDetailShape, found, self.base))


class TokenCompletion(Endpoint):
    """The completion of a token by who has the right to."""

    body_limit = _BODY_LIMIT

    @extend_schema(
        operation_id="complete_token",
        summary="Complete a token; one that is over stays as it is",
        request=CompleteTokenBody,
        responses={200: SuccessShape, **errors(400, 401, 403, 404, 413, 422)},
        examples=[
            OpenApiExample("Approved", value={"data": {"approved": True}}, request_only=True)
        ],
    )
    @accepts(public=Public("write", ("waitpoints",), "token"), member=Permission.WAITPOINTS_WRITE)
    def post(self, request: Request, token: str) -> Response:
        output, output_type = _packet(read(_COMPLETE, request.data))
        complete_token(
            self.scope,
            waitpoint_id=parse_public_id("waitpoint", token),
            output=output,
            output_type=output_type,
            now=self.now,
        )
        return Response(_DONE)


class TokenCallback(Endpoint):
    """The completion of a token by whoever was given its address."""

    body_limit = _BODY_LIMIT

    @extend_schema(
        operation_id="call_back_token",
        summary="Complete a token with the body, by the address that came with the token",
        description="Needs no other credential. A body that is not JSON counts as `{}`.",
        request={_JSON: {}},
        responses={200: SuccessShape, **errors(401, 404, 411, 413)},
        auth=[],
    )
    @accepts(anybody=True)
    def post(self, request: Request, token: str, secret: str) -> Response:
        waitpoint_id = parse_public_id("waitpoint", token)
        if not is_signature(secret, str(waitpoint_id), context=_CALLBACK):
            raise Unauthorized("Invalid callback address")
        if not request.headers.get("content-length"):
            raise LengthRequired
        output = json.dumps(_whatever(request))
        complete_called_back(waitpoint_id=waitpoint_id, output=output, now=self.now)
        return Response(_DONE)


class RunTokenWait(Endpoint):
    """What a running task waits for: a token."""

    @extend_schema(
        operation_id="wait_for_token",
        summary="Have an executing run wait for a token",
        request=None,
        responses={200: SuccessShape, **errors(401, 404, 409)},
    )
    def post(self, request: Request, run: str, token: str) -> Response:
        block_run(
            self.scope,
            run_id=parse_public_id("run", run),
            waitpoint_id=parse_public_id("waitpoint", token),
            now=self.now,
        )
        return Response(_DONE)


class RunTimeWait(Endpoint):
    """What a running task waits for: a time."""

    @extend_schema(
        operation_id="wait_until",
        summary="Have an executing run wait until a moment",
        request=TimeWaitBody,
        responses={200: TimeWaitShape, **errors(400, 401, 404, 409)},
        examples=[
            OpenApiExample("Until", value={"date": "2031-01-01T00:00:00Z"}, request_only=True)
        ],
    )
    def post(self, request: Request, run: str) -> Response:
        body = read(_TIME, request.data)
        made = block_until(
            self.scope,
            run_id=parse_public_id("run", run),
            due_at=body["date"],
            key=body.get("idempotencyKey"),
            now=self.now,
        )
        shape = TimeWaitShape({"waitUntil": made.due_at, "waitpoint": {"id": made.id}})
        return Response(shape.data)


def _timeout(text: str | None, now: datetime) -> datetime | None:
    return None if text is None else parse_moment(text, now=now, field="timeout")


def _life(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text, field="idempotencyKeyTTL")


def _packet(body: Mapping[str, Any]) -> tuple[str | None, str]:
    if "dataType" in body:
        return body["data"], body["dataType"]
    return (json.dumps(body["data"]) if "data" in body else None), _JSON


def _whatever(request: Request) -> Any:
    try:
        return request.data
    except BadRequest:
        return {}


def _filters(query: Any, *, now: datetime) -> queries.TokenFilters:
    reader = FilterReader(query)
    period = reader.one("createdAt][period", lambda text: parse_duration(text, field="period"))
    return queries.TokenFilters(
        statuses=reader.many("status", _status),
        tags=reader.many("tags", str),
        idempotency_key=reader.one("idempotencyKey", str),
        created_from=now - period if period else reader.one("createdAt][from", moment),
        created_to=reader.one("createdAt][to", moment),
    )


def _status(text: str) -> WaitpointStatus:
    if text not in TOKEN_STATUSES:
        raise ValueError(f"is not one of {', '.join(TOKEN_STATUSES)}")
    return WaitpointStatus(text)


def _with_url(shape: type[TokenItemShape], token: Any, base: str) -> dict[str, Any]:
    token.url = _callback_url(base, token.id)
    shown: dict[str, Any] = shape(token).data
    return shown


def _callback_url(base: str, waitpoint_id: UUID) -> str:
    secret = signature(str(waitpoint_id), context=_CALLBACK)
    name = public_id("waitpoint", waitpoint_id)
    return f"{base}/api/v1/waitpoints/tokens/{name}/callback/{secret}"
