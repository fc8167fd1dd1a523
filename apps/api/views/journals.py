"""Journals of durable runs: read them, and begin a run in the middle of one."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest
from apps.api.schema import errors
from apps.api.serializers.journals import ForkBody, JournalPageShape, page_of
from apps.api.serializers.runs import IdShape
from apps.api.views.runs import READ, RunEndpoint
from apps.core.ids import parse_public_id, public_id
from apps.orgs.permissions import Permission
from apps.runs import queries as runs
from apps.runs.operations.fork import fork_run

_FORK = ForkBody()
_LARGEST_PAGE = 1_000
_PAGE = 100


class RunJournal(RunEndpoint):
    """What a durable run has done."""

    @extend_schema(
        operation_id="list_run_journal",
        summary="List the journal of a durable run, oldest first",
        parameters=[
            OpenApiParameter(
                "page[size]",
                {"type": "integer", "minimum": 1, "maximum": _LARGEST_PAGE, "default": _PAGE},
            ),
            OpenApiParameter("page[after]", {"type": "integer", "minimum": 0}),
        ],
        responses={200: JournalPageShape, **errors(400, 401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        size = _number(request, "page[size]", default=_PAGE, most=_LARGEST_PAGE)
        after = _number(request, "page[after]", default=0, most=2**31 - 1)
        entries = runs.list_journal(self.scope, found.id, after=after, most=max(1, size))
        return Response(page_of(entries, size=max(1, size)))


class RunFork(Endpoint):
    """A durable run, once more from somewhere in its journal."""

    @extend_schema(
        operation_id="fork_run",
        summary="Start a new run with the journal of this one up to an entry",
        request=ForkBody,
        responses={200: IdShape, **errors(400, 401, 404, 422)},
        examples=[OpenApiExample("From a step", value={"from": "charge"}, request_only=True)],
    )
    @accepts(member=Permission.RUNS_WRITE)
    def post(self, request: Request, run: str) -> Response:
        body = read(_FORK, request.data)
        made = fork_run(
            self.scope,
            run_id=parse_public_id("run", run),
            start=body["from"],
            version=body.get("version"),
            now=self.now,
        )
        return Response({"id": public_id("run", made.run_id)})


def _number(request: Request, name: str, *, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadRequest(f"{name} is a number from 0 to {most}")
    return min(int(text), most)
