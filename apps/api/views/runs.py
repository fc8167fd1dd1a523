"""Runs: look at them, act on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint, read
from apps.api.paging import CURSOR_PARAMETERS, cursor_page, pagination
from apps.api.run_filters import FILTER_PARAMETERS, require_tasks, run_filters
from apps.api.schema import errors
from apps.api.serializers.runs import (
    EventShape,
    EventsShape,
    IdShape,
    MessageShape,
    MetadataBody,
    MetadataShape,
    ReplayBody,
    RescheduleBody,
    ResetKeyBody,
    RunDetailShape,
    RunItemShape,
    RunPageShape,
    RunResultShape,
    TagsBody,
    result_of,
)
from apps.api.trigger_requests import replay_overrides
from apps.core.durations import parse_moment
from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id
from apps.core.paging import Page, merged
from apps.environments.grants import Resource
from apps.environments.queries import get_environment
from apps.environments.scope import Scope
from apps.orgs.actors import SYSTEM
from apps.orgs.permissions import Permission
from apps.runs import queries as runs
from apps.runs.limits import limits
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.idempotency import reset_idempotency_key
from apps.runs.operations.metadata import change_metadata
from apps.runs.operations.replay import replay_run
from apps.runs.operations.reschedule import reschedule_run
from apps.runs.operations.tags import add_tags
from apps.schedules import queries as schedules

READ = Public("read", ("runs", "tasks", "tags", "batch"))
_WRITE = Public("write", ("runs", "tasks", "tags", "batch"))
_REPLAY = ReplayBody()
_RESCHEDULE = RescheduleBody()
_TAGS = TagsBody()
_METADATA = MetadataBody()
_RESET = ResetKeyBody()
_EVERY_SLUG = "prod,staging,preview,dev"


class RunEndpoint(Endpoint):
    """Something about one run."""

    def run_for(self, action: str, identifier: str) -> Any:
        """The run, if the caller may do this to it."""
        run = runs.get_run(self.scope, parse_public_id("run", identifier))
        self.caller.require(action, names_of(run))
        return run

    def shape_context(self) -> dict[str, Any]:
        """What every form of a run needs to know of the request."""
        legacy = "x-trigger-api-version" not in self.request.headers
        return {"legacy": legacy, "base": self.base}

    def page(self, page: Page[Any], environments: list[Any]) -> dict[str, Any]:
        """One page of runs, each with its environment."""
        named = {env.id: {"id": env.id, "name": env.name} for env in environments}
        context = {**self.shape_context(), "environments": named}
        shaped = RunItemShape(page.items, many=True, context=context)
        return {"data": shaped.data, "pagination": pagination(page, now=self.now)}

    def detail(self, scope: Scope, run: Any) -> dict[str, Any]:
        """A run with its family."""
        related = {
            "root": _relative(scope, run, run.root_id),
            "parent": _relative(scope, run, run.parent_id),
            "children": runs.child_runs(scope, run.id),
        }
        context = {
            **self.shape_context(),
            "related": related,
            "attempts": runs.attempts(scope, run.id),
            "schedule": schedules.schedule_of_run(scope, run.schedule_id),
            "reason": run.status_reason if run.is_final else runs.explain(scope, run.id),
        }
        found: dict[str, Any] = RunDetailShape(run, context=context).data
        return found


class RunList(RunEndpoint):
    """The runs of an environment."""

    @extend_schema(
        operation_id="list_runs",
        summary="List runs, newest first",
        parameters=[*FILTER_PARAMETERS, *CURSOR_PARAMETERS],
        responses={200: RunPageShape, **errors(400, 401, 403)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request) -> Response:
        filters = run_filters(request.query_params, now=self.now)
        require_tasks(self.caller, filters)
        page = runs.list_runs(self.scope, filters, cursor_page(request.query_params))
        # A public token may see runs, but not the environment; only its name goes with the runs.
        unbound = replace(self.scope, actor=SYSTEM)
        return Response(self.page(page, [get_environment(unbound)]))


class RunDetail(RunEndpoint):
    """One run."""

    @extend_schema(
        operation_id="retrieve_run",
        summary="Retrieve a run",
        responses={200: RunDetailShape, **errors(401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        return Response(self.detail(self.scope, self.run_for("read", run)))


class RunCancellation(RunEndpoint):
    """The end of a run, before its time."""

    @extend_schema(
        operation_id="cancel_run",
        summary="Cancel a run; one that has ended stays as it is",
        request=None,
        responses={200: IdShape, **errors(401, 403, 404)},
    )
    @accepts(public=_WRITE, member=Permission.RUNS_WRITE)
    def post(self, request: Request, run: str) -> Response:
        found = self.run_for("write", run)
        cancel_run(self.scope, run_id=found.id, now=self.now)
        return Response({"id": public_id("run", found.id)})


@extend_schema(exclude=True)
class RunCancellationV1(RunCancellation):
    """The path that older clients have for it."""


class RunReplay(Endpoint):
    """A run, once more."""

    body_limit = 2 * limits().payload_bytes + 1024 * 1024

    @extend_schema(
        operation_id="replay_run",
        summary="Start a new run like this one",
        request=ReplayBody,
        responses={200: IdShape, **errors(400, 401, 404, 413, 422)},
    )
    @accepts(member=Permission.RUNS_TRIGGER)
    def post(self, request: Request, run: str) -> Response:
        now = self.now
        triggered = replay_run(
            self.scope,
            run_id=parse_public_id("run", run),
            overrides=replay_overrides(read(_REPLAY, request.data), now=now),
            now=now,
        )
        return Response({"id": public_id("run", triggered.run_id)})


class RunSchedule(RunEndpoint):
    """When a delayed run starts."""

    @extend_schema(
        operation_id="reschedule_run",
        summary="Start a delayed run at another time",
        request=RescheduleBody,
        responses={200: RunDetailShape, **errors(400, 401, 404, 409, 422)},
        examples=[OpenApiExample("In an hour", value={"delay": "1h"}, request_only=True)],
    )
    @accepts(member=Permission.RUNS_WRITE)
    def post(self, request: Request, run: str) -> Response:
        now = self.now
        delay = read(_RESCHEDULE, request.data)["delay"]
        found = reschedule_run(
            self.scope,
            run_id=parse_public_id("run", run),
            delay_until=parse_moment(delay, now=now, field="delay"),
            now=now,
        )
        return Response(self.detail(self.scope, found))


class RunTags(Endpoint):
    """A run's tags."""

    @extend_schema(
        operation_id="add_run_tags",
        summary="Add tags to a run",
        request=TagsBody,
        responses={200: MessageShape, **errors(400, 401, 404, 422)},
        examples=[OpenApiExample("Two", value={"tags": ["user_1", "nightly"]}, request_only=True)],
    )
    @accepts(member=Permission.RUNS_WRITE)
    def post(self, request: Request, run: str) -> Response:
        tags = read(_TAGS, request.data)["tags"]
        add_tags(self.scope, run_id=parse_public_id("run", run), tags=tags, now=self.now)
        return Response({"message": f"Successfully set {len(tags)} new tags."})


class RunMetadata(RunEndpoint):
    """A run's metadata."""

    body_limit = 2 * limits().metadata_bytes + 256 * 1024

    @extend_schema(
        operation_id="retrieve_run_metadata",
        summary="Retrieve a run's metadata",
        responses={200: MetadataShape, **errors(401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        return Response({"metadata": self.run_for("read", run).metadata})

    @extend_schema(
        operation_id="change_run_metadata",
        summary="Replace a run's metadata, or apply operations to it",
        request=MetadataBody,
        responses={200: MetadataShape, **errors(400, 401, 404, 413, 422)},
        examples=[
            OpenApiExample(
                "Count",
                value={"operations": [{"type": "increment", "key": "done", "value": 1}]},
                request_only=True,
            )
        ],
    )
    @accepts(member=Permission.RUNS_WRITE)
    def put(self, request: Request, run: str) -> Response:
        body = read(_METADATA, request.data)
        metadata = change_metadata(
            self.scope,
            run_id=parse_public_id("run", run),
            metadata=body.get("metadata"),
            operations=body.get("operations", []),
            parent_operations=body.get("parentOperations", []),
            root_operations=body.get("rootOperations", []),
            now=self.now,
        )
        return Response({"metadata": metadata})


class RunResult(RunEndpoint):
    """How a run ended."""

    @extend_schema(
        operation_id="retrieve_run_result",
        summary="Retrieve how a run ended; 404 until it has",
        responses={200: RunResultShape, **errors(401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        if found.finished_at is None:
            raise NotFound("This run has not finished")
        return Response(result_of(found, run))


class RunEvents(RunEndpoint):
    """What happened to a run."""

    @extend_schema(
        operation_id="list_run_events",
        summary="List what happened to a run, oldest first",
        responses={200: EventsShape, **errors(401, 403, 404)},
    )
    @accepts(public=READ, member=Permission.RUNS_READ)
    def get(self, request: Request, run: str) -> Response:
        found = self.run_for("read", run)
        events = runs.list_events(self.scope, found.id)
        shaped = EventShape(events, many=True, context=self.shape_context())
        return Response({"events": shaped.data})


class IdempotencyKeyReset(Endpoint):
    """A key that is to start a new run next time."""

    @extend_schema(
        operation_id="reset_idempotency_key",
        summary="Forget an idempotency key",
        request=ResetKeyBody,
        responses={200: IdShape, **errors(400, 401, 403, 404)},
    )
    @accepts(public=Public("write", ("runs",)), member=Permission.RUNS_WRITE)
    def post(self, request: Request, key: str) -> Response:
        self.caller.require("write", [("runs", None)])
        task = read(_RESET, request.data)["taskIdentifier"]
        reset_idempotency_key(self.scope, task=task, key_hash=key, now=self.now)
        return Response({"id": key})


class ProjectRunList(RunEndpoint):
    """The runs of a project's environments, for a person."""

    @extend_schema(
        operation_id="list_project_runs",
        summary="List the runs of a project, newest first",
        parameters=[
            OpenApiParameter("filter[env]", str, description="Slugs, separated by commas."),
            *FILTER_PARAMETERS,
            *CURSOR_PARAMETERS,
        ],
        responses={200: RunPageShape, **errors(400, 401, 404)},
    )
    @accepts(key=False, person=True)
    def get(self, request: Request, ref: str) -> Response:
        filters = run_filters(request.query_params, now=self.now)
        asked = cursor_page(request.query_params)
        slugs = request.query_params.get("filter[env]") or _EVERY_SLUG
        scopes = [self.scope_in(ref, slug.strip()) for slug in slugs.split(",") if slug.strip()]
        pages = [runs.list_runs(scope, filters, asked) for scope in scopes]
        seen = [get_environment(scope) for scope in scopes]
        return Response(self.page(merged(pages, asked), seen))


def names_of(run: Any) -> list[Resource]:
    """Everything that a scope may call this run by."""
    names: list[Resource] = [("runs", public_id("run", run.id)), ("tasks", run.task)]
    names += [("tags", tag) for tag in run.tags]
    if run.batch_id:
        names.append(("batch", public_id("batch", run.batch_id)))
    return names


def _relative(scope: Scope, run: Any, identifier: UUID | None) -> Any:
    if identifier is None or identifier == run.id:
        return None
    try:
        return runs.get_run(scope, identifier)
    except NotFound:
        return None  # pruned
