"""Schedules: made, looked at, switched, back-filled; and the time zones they may be in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.errors import BadRequest
from apps.api.paging import NUMBER_PARAMETERS, numbered
from apps.api.run_filters import moment
from apps.api.schema import errors
from apps.api.serializers.runs import IdShape
from apps.api.serializers.schedules import (
    BackfillBody,
    CreateScheduleBody,
    ScheduleBody,
    ScheduleDetailShape,
    SchedulePageShape,
    ScheduleShape,
    TickListShape,
    TickShape,
    TimezonesShape,
    UpcomingListShape,
    UpcomingShape,
)
from apps.api.trigger_requests import trigger_request
from apps.core.ids import parse_public_id
from apps.core.recurrence import timezones
from apps.orgs.permissions import Permission
from apps.schedules import queries
from apps.schedules.carried import carried
from apps.schedules.operations.backfill import backfill
from apps.schedules.operations.manage import (
    ScheduleRequest,
    activate_schedule,
    create_schedule,
    deactivate_schedule,
    delete_schedule,
    update_schedule,
)

_CREATE = CreateScheduleBody()
_UPDATE = ScheduleBody()
_BACKFILL = BackfillBody()
_FIELDS = {
    "task": "task",
    "cron": "cron",
    "every": "interval_seconds",
    "at": "once_at",
    "timezone": "timezone",
    "externalId": "external_id",
    "window": "window",
    "jitter": "jitter_seconds",
    "overlap": "overlap",
    "missed": "missed",
    "missedLimit": "missed_limit",
}
_HORIZON = timedelta(days=7)
_MOST_UPCOMING = 1_000


class ScheduleEndpoint(Endpoint):
    """Something about schedules."""

    def answer(self, schedule_id: Any) -> Response:
        """One schedule, as it is now."""
        found = queries.get_schedule(self.scope, schedule_id)
        context = {"problem": queries.problem_of(self.scope, found, now=self.now)}
        return Response(ScheduleDetailShape(found, context=context).data)


class ScheduleList(ScheduleEndpoint):
    """The schedules of an environment."""

    @extend_schema(
        operation_id="list_schedules",
        summary="List schedules, newest first",
        parameters=[
            *NUMBER_PARAMETERS,
            OpenApiParameter("task", str, description="Only those of this task."),
            OpenApiParameter("externalId", str, description="Only those with this external id."),
        ],
        responses={200: SchedulePageShape, **errors(400, 401)},
    )
    @accepts(member=Permission.SCHEDULES_READ)
    def get(self, request: Request) -> Response:
        query = request.query_params
        found = queries.list_schedules(
            self.scope, task=query.get("task"), external_id=query.get("externalId")
        )
        shown, place = numbered(query, found)
        return Response({"data": ScheduleShape(shown, many=True).data, "pagination": place})

    @extend_schema(
        operation_id="create_schedule",
        summary="Make a schedule, or change the one that has this deduplication key",
        request=CreateScheduleBody,
        responses={200: ScheduleDetailShape, **errors(400, 401, 422)},
        examples=[
            OpenApiExample(
                "Every working day",
                value={"task": "report", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Paris",
                       "deduplicationKey": "daily-report"},
                request_only=True,
            ),
            OpenApiExample(
                "What its runs get",
                value={"task": "report", "cron": "@daily", "deduplicationKey": "report-of-eu",
                       "payload": {"region": "eu"}, "options": {"tags": ["eu"], "ttl": "1h"}},
                request_only=True,
            ),
        ],
    )  # fmt: skip
    @accepts(member=Permission.SCHEDULES_WRITE)
    def post(self, request: Request) -> Response:
        body = read(_CREATE, request.data)
        made = create_schedule(
            self.scope,
            request=_request(body, now=self.now),
            deduplication_key=body["deduplicationKey"],
            now=self.now,
        )
        return self.answer(made.pk)


class ScheduleDetail(ScheduleEndpoint):
    """One schedule."""

    @extend_schema(
        operation_id="retrieve_schedule",
        summary="Retrieve a schedule",
        responses={200: ScheduleDetailShape, **errors(401, 404)},
    )
    @accepts(member=Permission.SCHEDULES_READ)
    def get(self, request: Request, schedule: str) -> Response:
        return self.answer(parse_public_id("sched", schedule))

    @extend_schema(
        operation_id="update_schedule",
        summary="Change a schedule that was not declared in code",
        request=ScheduleBody,
        responses={200: ScheduleDetailShape, **errors(400, 401, 404, 422)},
    )
    @accepts(member=Permission.SCHEDULES_WRITE)
    def put(self, request: Request, schedule: str) -> Response:
        schedule_id = parse_public_id("sched", schedule)
        asked = _request(read(_UPDATE, request.data), now=self.now)
        update_schedule(self.scope, schedule_id=schedule_id, request=asked, now=self.now)
        return self.answer(schedule_id)

    @extend_schema(
        operation_id="delete_schedule",
        summary="Remove a schedule that was not declared in code",
        responses={200: IdShape, **errors(401, 404, 422)},
    )
    @accepts(member=Permission.SCHEDULES_WRITE)
    def delete(self, request: Request, schedule: str) -> Response:
        schedule_id = parse_public_id("sched", schedule)
        delete_schedule(self.scope, schedule_id=schedule_id, now=self.now)
        return Response({"id": schedule})


class ScheduleActivation(ScheduleEndpoint):
    """Letting a schedule tick."""

    @extend_schema(
        operation_id="activate_schedule",
        summary="Let a schedule tick again",
        request=None,
        responses={200: ScheduleDetailShape, **errors(401, 404)},
    )
    @accepts(member=Permission.SCHEDULES_WRITE)
    def post(self, request: Request, schedule: str) -> Response:
        schedule_id = parse_public_id("sched", schedule)
        activate_schedule(self.scope, schedule_id=schedule_id, now=self.now)
        return self.answer(schedule_id)


class ScheduleDeactivation(ScheduleEndpoint):
    """Stopping a schedule."""

    @extend_schema(
        operation_id="deactivate_schedule",
        summary="Stop a schedule from ticking",
        request=None,
        responses={200: ScheduleDetailShape, **errors(401, 404)},
    )
    @accepts(member=Permission.SCHEDULES_WRITE)
    def post(self, request: Request, schedule: str) -> Response:
        schedule_id = parse_public_id("sched", schedule)
        deactivate_schedule(self.scope, schedule_id=schedule_id, now=self.now)
        return self.answer(schedule_id)


class ScheduleBackfill(ScheduleEndpoint):
    """Runs for times that have passed."""

    @extend_schema(
        operation_id="backfill_schedule",
        summary="Start a run for each time of a range in the past that has none",
        request=BackfillBody,
        responses={200: TickListShape, **errors(400, 401, 404, 422)},
        examples=[
            OpenApiExample(
                "A day",
                value={"from": "2026-11-23T00:00:00Z", "to": "2026-11-23T23:59:59Z"},
                request_only=True,
            )
        ],
    )
    @accepts(member=Permission.SCHEDULES_WRITE)
    def post(self, request: Request, schedule: str) -> Response:
        body = read(_BACKFILL, request.data)
        ticks = backfill(
            self.scope,
            schedule_id=parse_public_id("sched", schedule),
            since=body["from"],
            until=body["to"],
            now=self.now,
        )
        return Response({"data": TickShape(ticks, many=True).data})


class ScheduleTicks(ScheduleEndpoint):
    """What became of the times of a schedule."""

    @extend_schema(
        operation_id="list_schedule_ticks",
        summary="List what became of a schedule's latest 100 times",
        responses={200: TickListShape, **errors(401, 404)},
    )
    @accepts(member=Permission.SCHEDULES_READ)
    def get(self, request: Request, schedule: str) -> Response:
        ticks = queries.list_ticks(self.scope, parse_public_id("sched", schedule))
        return Response({"data": TickShape(ticks, many=True).data})


class UpcomingTimes(ScheduleEndpoint):
    """The times that come."""

    @extend_schema(
        operation_id="list_upcoming",
        summary="List the next times of all active schedules, or of one, in order",
        parameters=[
            OpenApiParameter("from", str, description="ISO 8601 or milliseconds; now."),
            OpenApiParameter("to", str, description="ISO 8601 or milliseconds; a week after."),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": _MOST_UPCOMING, "default": 100},
            ),
            OpenApiParameter("schedule", str, description="The id of one schedule."),
        ],
        responses={200: UpcomingListShape, **errors(400, 401, 404)},
    )
    @accepts(member=Permission.SCHEDULES_READ)
    def get(self, request: Request) -> Response:
        query = request.query_params
        since = max(_moment(query.get("from"), "from") or self.now, self.now)
        one = query.get("schedule")
        found = queries.upcoming(
            self.scope,
            since=since,
            until=_moment(query.get("to"), "to") or since + _HORIZON,
            most=_limit(query.get("limit", "100")),
            schedule_id=parse_public_id("sched", one) if one else None,
        )
        return Response({"data": UpcomingShape(found, many=True).data})


class TimezoneList(Endpoint):
    """The time zones that a schedule may be in."""

    @extend_schema(
        operation_id="list_timezones",
        summary="List the names of all time zones",
        parameters=[OpenApiParameter("excludeUtc", bool)],
        auth=[],
        responses={200: TimezonesShape, **errors(400)},
    )
    @accepts(anybody=True)
    def get(self, request: Request) -> Response:
        is_without = request.query_params.get("excludeUtc") == "true"
        return Response({"timezones": [n for n in timezones() if not (is_without and n == "UTC")]})


def _request(body: Mapping[str, Any], *, now: datetime) -> ScheduleRequest:
    """When, and what its runs get: that is read as the body of a trigger."""
    times = {_FIELDS[name]: body[name] for name in body if name in _FIELDS}
    asked = trigger_request(body["task"], body, now=now, headers={})
    return ScheduleRequest(**times, **carried(asked))


def _moment(text: str | None, name: str) -> datetime | None:
    if not text:
        return None
    try:
        return moment(text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{name} {text!r} {error}") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _MOST_UPCOMING):
        raise BadRequest(f"limit must be a whole number from 1 to {_MOST_UPCOMING}")
    return int(text)
