"""The secret keys of an environment: listed by their ends, made, replaced, revoked."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.environments import (
    ApiKeyBody,
    ApiKeyShape,
    CreatedApiKeyShape,
    SuccessShape,
)
from apps.core.durations import parse_duration
from apps.core.ids import parse_public_id
from apps.environments.operations import keys
from apps.environments.queries import list_keys

_KEY = ApiKeyBody()


class ApiKeyList(Endpoint):
    """The keys that open an environment."""

    @extend_schema(
        operation_id="list_api_keys",
        summary="List the keys of an environment by their ends: the main one first",
        responses={200: ApiKeyShape(many=True), **errors(401, 403, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, ref: str, env: str) -> Response:
        found = list_keys(self.scope_in(ref, env), now=self.now)
        return Response(ApiKeyShape(found, many=True).data)

    @extend_schema(
        operation_id="create_api_key",
        summary="Make one more key for an environment; it is shown this once",
        request=ApiKeyBody,
        responses={200: CreatedApiKeyShape, **errors(400, 401, 403, 404, 422)},
        examples=[
            OpenApiExample("CI", value={"name": "ci", "expirationTime": "90d"}, request_only=True)
        ],
    )
    @accepts(key=False, person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        body, now = read(_KEY, request.data), self.now
        lifetime = body.get("expirationTime")
        made = keys.create_key(
            self.scope_in(ref, env),
            name=body["name"],
            expires_at=now + parse_duration(lifetime, field="expirationTime") if lifetime else None,
            now=now,
        )
        return Response(CreatedApiKeyShape(made).data)


class ApiKeyDetail(Endpoint):
    """One key."""

    @extend_schema(
        operation_id="revoke_api_key",
        summary="End a key with a name, or a replaced one in its day of grace, at once",
        responses={200: SuccessShape, **errors(401, 403, 404, 422)},
    )
    @accepts(key=False, person=True)
    def delete(self, request: Request, ref: str, env: str, api_key: str) -> Response:
        scope, key_id = self.scope_in(ref, env), parse_public_id("key", api_key)
        keys.revoke_key(scope, key_id=key_id, now=self.now)
        return Response({"success": True})
