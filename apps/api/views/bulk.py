"""Bulk actions: many runs canceled or replayed, by a filter or by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.paging import CURSOR_PARAMETERS, cursor_page, pagination
from apps.api.run_filters import run_filters
from apps.api.schema import errors
from apps.api.serializers.bulk import BulkActionBody, BulkActionPageShape, BulkActionShape
from apps.api.serializers.runs import IdShape
from apps.core.ids import parse_public_id, public_id
from apps.orgs.permissions import Permission
from apps.runs import queries as runs
from apps.runs.operations.bulk import abort_bulk_action, create_bulk_action
from apps.runs.states import BulkKind

_BODY = BulkActionBody()
_TIMES = {"from": "createdAt][from", "to": "createdAt][to", "period": "createdAt][period"}


class BulkActionList(Endpoint):
    """The bulk actions of an environment."""

    @extend_schema(
        operation_id="list_bulk_actions",
        summary="List bulk actions, newest first",
        parameters=CURSOR_PARAMETERS,
        responses={200: BulkActionPageShape, **errors(400, 401)},
    )
    @accepts(member=Permission.RUNS_READ)
    def get(self, request: Request) -> Response:
        page = runs.list_bulk_actions(self.scope, cursor_page(request.query_params))
        shown = BulkActionShape(page.items, many=True).data
        return Response({"data": shown, "pagination": pagination(page, now=self.now)})

    @extend_schema(
        operation_id="create_bulk_action",
        summary="Cancel or replay many runs",
        request=BulkActionBody,
        responses={202: IdShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "What failed today",
                value={"action": "replay", "filter": {"status": "FAILED", "period": "1d"}},
                request_only=True,
            )
        ],
    )
    @accepts(member=Permission.RUNS_WRITE)
    def post(self, request: Request) -> Response:
        body, now = read(_BODY, request.data), self.now
        chosen = body.get("filter")
        made = create_bulk_action(
            self.scope,
            kind=BulkKind(body["action"]),
            filters=None if chosen is None else run_filters(_as_query(chosen), now=now),
            run_ids=body.get("runIds", ()),
            name=body.get("name", ""),
            now=now,
        )
        return Response({"id": public_id("bulk", made.pk)}, status=202)


class BulkActionDetail(Endpoint):
    """One bulk action."""

    @extend_schema(
        operation_id="retrieve_bulk_action",
        summary="Retrieve how far a bulk action is",
        responses={200: BulkActionShape, **errors(401, 404)},
    )
    @accepts(member=Permission.RUNS_READ)
    def get(self, request: Request, bulk: str) -> Response:
        found = runs.get_bulk_action(self.scope, parse_public_id("bulk", bulk))
        return Response(BulkActionShape(found).data)


class BulkActionAbortion(Endpoint):
    """Stopping a bulk action."""

    @extend_schema(
        operation_id="abort_bulk_action",
        summary="Stop a bulk action; what it did stays done",
        request=None,
        responses={200: IdShape, **errors(401, 404, 409)},
    )
    @accepts(member=Permission.RUNS_WRITE)
    def post(self, request: Request, bulk: str) -> Response:
        bulk_action_id = parse_public_id("bulk", bulk)
        abort_bulk_action(self.scope, bulk_action_id=bulk_action_id, now=self.now)
        return Response({"id": bulk})


def _as_query(chosen: Mapping[str, Any]) -> QueryDict:
    """The filter of a body in the form that lists have it."""
    query = QueryDict(mutable=True)
    for name, value in chosen.items():
        if (text := _text(value)) != "":
            query[f"filter[{_TIMES.get(name, name)}]"] = text
    return query


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(_text(one) for one in value)
        case {"type": "task", "name": str(name)}:
            return f"task/{name}"
        case {"name": str(name)}:
            return name
        case _:
            return str(value)
