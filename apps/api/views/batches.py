"""Batches: announced and then filled, or sent at once; and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import IO, Any, cast

from django.http import QueryDict
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import Public, accepts
from apps.api.batch_lines import ItemReader
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest, UnsupportedContent, invalid_body
from apps.api.headers import give_token
from apps.api.parsers import lines, parse_json
from apps.api.schema import errors
from apps.api.serializers.runs import BatchResultsShape, result_of
from apps.api.serializers.triggers import (
    BatchItemBody,
    BatchOfRunsShape,
    BatchProgressShape,
    BatchShape,
    CreateBatchBody,
    CreatedBatchShape,
    OneTaskBatchBody,
    TaskBatchBody,
)
from apps.api.trigger_requests import trigger_request
from apps.core.errors import DomainError, Invalid
from apps.core.ids import parse_public_id, public_id
from apps.orgs.permissions import Permission
from apps.runs import queries as runs
from apps.runs.errors import internal
from apps.runs.limits import limits
from apps.runs.operations.batch import (
    BatchItemRequest,
    CreatedBatch,
    add_batch_items,
    create_batch,
)

_CREATE = CreateBatchBody()
_TASK_BATCH = TaskBatchBody()
_ONE_TASK_BATCH = OneTaskBatchBody()
_READ_FOR = timedelta(hours=1)
_ITEM_LIMIT = 2 * limits().payload_bytes + 1024 * 1024
_AT_ONCE = 1_000
_BYTES_AT_ONCE = 8 * 1024 * 1024
_LARGEST_RESULTS = 500


class BatchList(Endpoint):
    """Batches of an environment."""

    @extend_schema(
        operation_id="create_batch",
        summary="Announce a batch, whose items follow",
        request=CreateBatchBody,
        responses={202: CreatedBatchShape, **errors(400, 401, 403, 422, 429)},
        examples=[OpenApiExample("Two runs", value={"runCount": 2}, request_only=True)],
    )
    @accepts(public=Public("batchTrigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def post(self, request: Request) -> Response:
        body = read(_CREATE, request.data)
        self._require(body.get("taskIdentifiers", []))
        created = create_batch(
            self.scope,
            run_count=body["runCount"],
            parent_run_id=body.get("parentRunId"),
            resume_parent=body.get("resumeParentOnCompletion", False),
            idempotency_key=body.get("idempotencyKey") or request.headers.get("idempotency-key"),
            token_digest=self.caller.token_digest,
            now=self.now,
        )
        identifier = public_id("batch", created.batch_id)
        answer = {
            "id": identifier,
            "runCount": body["runCount"],
            "isCached": created.is_cached,
            "sealed": created.is_sealed if created.is_cached else None,
            "idempotencyKey": body.get("idempotencyKey"),
            "waitpointId": created.waitpoint_id and public_id("waitpoint", created.waitpoint_id),
        }
        kept = {name: value for name, value in answer.items() if value is not None}
        response = Response(kept, status=202)
        scopes = [f"read:batch:{identifier}", f"write:batch:{identifier}"]
        give_token(response, self.caller, scopes, lifetime=_READ_FOR, now=self.now)
        return response

    def _require(self, tasks: list[str]) -> None:
        for task in tasks:
            self.caller.require("batchTrigger", [("tasks", task)])


class BatchItems(Endpoint):
    """The items of an announced batch."""

    @extend_schema(
        operation_id="add_batch_items",
        summary="Send the items of a batch, one JSON object per line",
        request={"application/x-ndjson": BatchItemBody},
        responses={200: BatchProgressShape, **errors(400, 401, 403, 404, 413, 415, 422)},
    )
    @accepts(public=Public("batchTrigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def post(self, request: Request, batch: str) -> Response:
        _require_ndjson(request)
        batch_id, now = parse_public_id("batch", batch), self.now
        accepted = deduplicated = 0
        progress = None
        for portion in self._portions(cast(IO[bytes], request.stream), now):
            progress = add_batch_items(self.scope, batch_id=batch_id, items=portion, now=now)
            accepted += progress.accepted
            deduplicated += progress.deduplicated
        if progress is None:
            raise BadRequest("The body has no items")
        return Response(
            {
                "id": batch,
                "itemsAccepted": accepted,
                "itemsDeduplicated": deduplicated,
                "sealed": progress.sealed,
                "enqueuedCount": progress.enqueued,
                "expectedCount": progress.expected,
            }
        )

    def _portions(self, stream: IO[bytes], now: datetime) -> Iterator[list[BatchItemRequest]]:
        """The items bit by bit, so that a batch of any size is never in memory as a whole."""
        reader = ItemReader(require=self._require, headers=_no_keys(self.request), now=now)
        portion: list[BatchItemRequest] = []
        size = 0
        for number, line in lines(stream, _ITEM_LIMIT):
            portion.append(_item(reader, number, line))
            size += len(line)
            if len(portion) == _AT_ONCE or size > _BYTES_AT_ONCE:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    def _require(self, task: str) -> None:
        self.caller.require("batchTrigger", [("tasks", task)])


def _item(reader: ItemReader, number: int, line: bytes) -> BatchItemRequest:
    try:
        return reader.read(parse_json(line))
    except exceptions.ValidationError as error:
        problem = invalid_body(error.detail)
        raise Invalid(f"Line {number}: {problem}", detail=problem.detail) from None
    except DomainError as error:
        error.message = f"Line {number}: {error.message}"
        raise


class BatchAtOnce(Endpoint):
    """A batch that is sent in one request."""

    body_limit = 64 * 1024 * 1024

    def trigger(self, body: Mapping[str, Any], tasks: Sequence[str]) -> CreatedBatch:
        """Announce and fill a batch of the body's items, of these tasks."""
        for task in dict.fromkeys(tasks):
            self.caller.require("batchTrigger", [("tasks", task)])
        headers, now = _no_keys(self.request), self.now
        items = [
            BatchItemRequest(
                index=index, request=trigger_request(task, item, now=now, headers=headers)
            )
            for index, (task, item) in enumerate(zip(tasks, body["items"], strict=True))
        ]
        created = create_batch(
            self.scope,
            run_count=len(items),
            parent_run_id=body.get("parentRunId"),
            resume_parent=body.get("resumeParentOnCompletion", False),
            idempotency_key=self.request.headers.get("idempotency-key"),
            token_digest=self.caller.token_digest,
            now=now,
        )
        if not created.is_cached:
            for start in range(0, len(items), _AT_ONCE):
                portion = items[start : start + _AT_ONCE]
                add_batch_items(self.scope, batch_id=created.batch_id, items=portion, now=now)
        return created

    def answer(self, created: CreatedBatch, status: int, **more: Any) -> Response:
        """The batch, and a token to read it with."""
        identifier = public_id("batch", created.batch_id)
        waitpoint = created.waitpoint_id and public_id("waitpoint", created.waitpoint_id)
        told = {"id": identifier, "isCached": created.is_cached, "waitpointId": waitpoint, **more}
        kept = {name: value for name, value in told.items() if value is not None}
        response = Response(kept, status=status)
        scopes = [f"read:batch:{identifier}"]
        give_token(response, self.caller, scopes, lifetime=_READ_FOR, now=self.now)
        return response

    def answer_runs(self, body: Mapping[str, Any], tasks: Sequence[str]) -> Response:
        """The batch with the ids of its runs."""
        created = self.trigger(body, tasks)
        ids = runs.batch_run_ids(self.scope, created.batch_id)
        return self.answer(
            created,
            200,
            batchId=public_id("batch", created.batch_id),
            runCount=len(tasks),
            runs=[public_id("run", run_id) for run_id in ids],
        )


class TaskBatch(BatchAtOnce):
    """A batch of several tasks that is sent in one request."""

    @extend_schema(
        operation_id="batch_trigger",
        summary="Trigger a batch in one request",
        request=TaskBatchBody,
        responses={202: CreatedBatchShape, **errors(400, 401, 403, 413, 422, 429)},
        examples=[
            OpenApiExample(
                "One run",
                value={"items": [{"task": "resize", "payload": {"image": 1}}]},
                request_only=True,
            )
        ],
    )
    @accepts(public=Public("batchTrigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def post(self, request: Request) -> Response:
        body = read(_TASK_BATCH, request.data)
        created = self.trigger(body, [item["task"] for item in body["items"]])
        return self.answer(created, 202, runCount=len(body["items"]))


class TaskBatchV1(BatchAtOnce):
    """The same in its oldest form, which answers with the runs."""

    @extend_schema(
        operation_id="batch_trigger_v1",
        summary="Trigger a batch in one request, and be told its runs",
        request=TaskBatchBody,
        responses={200: BatchOfRunsShape, **errors(400, 401, 403, 413, 422, 429)},
    )
    @accepts(public=Public("batchTrigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def post(self, request: Request) -> Response:
        body = read(_TASK_BATCH, request.data)
        return self.answer_runs(body, [item["task"] for item in body["items"]])


class OneTaskBatch(BatchAtOnce):
    """A batch of one task, which the path names."""

    @extend_schema(
        operation_id="batch_trigger_task",
        summary="Trigger a batch of one task in one request",
        request=OneTaskBatchBody,
        responses={200: BatchOfRunsShape, **errors(400, 401, 403, 413, 422, 429)},
        examples=[
            OpenApiExample(
                "Two runs",
                value={"items": [{"payload": {"image": 1}}, {"payload": {"image": 2}}]},
                request_only=True,
            )
        ],
    )
    @accepts(public=Public("batchTrigger", ("tasks",), "task"), member=Permission.RUNS_TRIGGER)
    def post(self, request: Request, task: str) -> Response:
        body = read(_ONE_TASK_BATCH, request.data)
        return self.answer_runs(body, [task] * len(body["items"]))


class BatchDetail(Endpoint):
    """One batch."""

    @extend_schema(
        operation_id="retrieve_batch",
        summary="Retrieve a batch",
        responses={200: BatchShape, **errors(401, 403, 404)},
    )
    @accepts(public=Public("read", ("batch", "runs")), member=Permission.RUNS_READ)
    def get(self, request: Request, batch: str) -> Response:
        self.caller.require("read", [("batch", batch), ("runs", None)])
        found = runs.get_batch(self.scope, parse_public_id("batch", batch))
        members = runs.batch_run_ids(self.scope, found.id)
        problems = runs.batch_errors(self.scope, found.id)
        return Response(_shape(found, members, problems))


class BatchDetailV1(BatchDetail):
    """The same under its older path."""

    @extend_schema(
        operation_id="retrieve_batch_v1",
        summary="Retrieve a batch, under the older path",
        responses={200: BatchShape, **errors(401, 403, 404)},
    )
    @accepts(public=Public("read", ("batch", "runs")), member=Permission.RUNS_READ)
    def get(self, request: Request, batch: str) -> Response:
        return super().get(request, batch)


class BatchResults(Endpoint):
    """How the items of a batch ended."""

    @extend_schema(
        operation_id="retrieve_batch_results",
        summary="Retrieve how the items of a batch ended, by index; all, or page by page",
        parameters=[
            OpenApiParameter(
                "page[size]", {"type": "integer", "minimum": 1, "maximum": _LARGEST_RESULTS}
            ),
            OpenApiParameter("page[after]", int, description="A `pagination.next` of before."),
        ],
        responses={200: BatchResultsShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.RUNS_READ)
    def get(self, request: Request, batch: str) -> Response:
        batch_id = parse_public_id("batch", batch)
        size, after = _page_of_results(request.query_params)
        answer: dict[str, Any] = {"id": batch, "items": []}
        while True:
            most = size or _LARGEST_RESULTS
            found = runs.batch_results(self.scope, batch_id, after=after, most=most)
            answer["items"] += [_result(batch, item) for item in found if _has_ended(item)]
            if len(found) < most:
                return Response(answer)
            after = found[-1].index
            if size:
                return Response({**answer, "pagination": {"next": after}})


def _page_of_results(query: QueryDict) -> tuple[int | None, int]:
    size, after = query.get("page[size]"), query.get("page[after]")
    for name, text, most in (("size", size, _LARGEST_RESULTS), ("after", after, 2**31 - 1)):
        if text and not (text.isascii() and text.isdecimal() and int(text[:12]) <= most):
            raise BadRequest(f"page[{name}] must be a whole number of at most {most}")
    return int(size) if size and int(size) else None, int(after) if after else -1


def _has_ended(item: Any) -> bool:
    return item.error is not None or (item.run is not None and item.run.finished_at is not None)


def _result(batch: str, item: Any) -> dict[str, Any]:
    """An item without a run has ended, too: whoever counts the results finds all of them."""
    if item.run is not None:
        return result_of(item.run, public_id("run", item.run.id))
    problem = internal("BATCH_ITEM_COULD_NOT_TRIGGER", item.error["message"])
    return {
        "ok": False,
        "id": f"{batch}_{item.index}",
        "taskIdentifier": item.task,
        "error": problem,
    }


def _shape(batch: Any, members: list[Any], problems: list[Any]) -> dict[str, Any]:
    shaped: dict[str, Any] = BatchShape(
        {
            "id": batch.id,
            "status": batch.status,
            "idempotencyKey": batch.idempotency_key,
            "createdAt": batch.created_at,
            "updatedAt": batch.updated_at,
            "runCount": batch.run_count,
            "runs": [public_id("run", run_id) for run_id in members],
            "processing": {
                "completedAt": batch.completed_at,
                "errors": [_problem(item) for item in problems],
            },
        }
    ).data
    return shaped


def _problem(item: Any) -> dict[str, Any]:
    return {
        "index": item.index,
        "taskIdentifier": item.task,
        "error": item.error["message"],
        "errorCode": item.error["code"],
    }


def _require_ndjson(request: Request) -> None:
    kind = (request.content_type or "").partition(";")[0].strip().lower()
    if kind not in ("application/x-ndjson", "application/ndjson"):
        raise UnsupportedContent("The items of a batch are sent as application/x-ndjson")


def _no_keys(request: Request) -> dict[str, str]:
    """Headers that speak for each item: an idempotency key speaks for the batch as a whole."""
    kept = ("traceparent", "x-trigger-source")
    return {name: request.headers[name] for name in kept if name in request.headers}
