"""Why a run is not running, as data: for machines, where its `reason` is for people."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.schema import errors
from apps.api.serializers.base import PublicIdField, Shape
from apps.api.views.runs import READ, RunEndpoint
from apps.orgs.permissions import Permission
from apps.runs import queries


class SlotHolderShape(Shape):
    """A run that holds a slot."""

    id = PublicIdField("run", source="run_id")
    task = serializers.CharField()
    queue = serializers.CharField()
    concurrencyKey = serializers.CharField(source="key")
    since = serializers.DateTimeField()


class ExplanationShape(Shape):
    """What holds a run up."""

    kind = serializers.CharField(help_text="The blocker, such as queue_limit or no_worker.")
    text = serializers.CharField(help_text="The same in a sentence.")
    detail = serializers.DictField(help_text="Its numbers; docs/api.md has them by kind.")
    holders = SlotHolderShape(many=True, help_text="Who holds the slots, at most ten.")


class RunExplanation(RunEndpoint):
    """Why a run is not running."""

    @extend_schema(
        operation_id="explain_run",
        summary="Say what a run waits for, and who holds the slots",
        responses={200: ExplanationShape, **errors(401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        return Response(ExplanationShape(queries.explanation(self.scope, found.id)).data)
