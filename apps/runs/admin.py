"""Runs and what keeps them going, for the staff; what customers sent and got back is not shown."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core import clock
from apps.core.admin import Large, ReadOnly, table
from apps.core.errors import DomainError, NotFound
from apps.core.ids import parse_public_id, public_id
from apps.environments.scope import Scope
from apps.orgs.actors import Actor
from apps.orgs.roles import Role
from apps.runs.models import (
    Attempt,
    Batch,
    BulkAction,
    EnvironmentSlots,
    IdempotencyKey,
    Input,
    JournalEntry,
    Lane,
    Lease,
    PendingRun,
    QueueSlots,
    ReadyRun,
    Run,
    RunEvent,
    RunTag,
    Timer,
    Wait,
    Waitpoint,
    Waking,
)
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.replay import replay_run
from apps.runs.operations.requeue import requeue_run

_AT_ONCE = 100
_SHOWN = 100


@admin.register(Run)
class RunAdmin(Large[Run]):
    list_display = ["public", "task", "status", "environment", "queue", "attempt_count",
                    "created_at", "finished_at"]  # fmt: skip
    list_filter = ["status", "is_test"]
    list_select_related = ["environment__project"]
    exclude = ["payload", "output", "metadata", "error", "idempotency_options"]
    actions = ["requeue", "cancel", "replay"]
    readonly_fields = ["timers", "waits", "journal", "inputs", "tag_rows"]
    search_help_text = "An id of a run, or the whole name of a task."

    @admin.display(description="run")
    def public(self, run: Run) -> str:
        return public_id("run", run.pk)

    def search(self, rows: QuerySet[Run], text: str) -> QuerySet[Run]:
        try:
            return rows.filter(pk=parse_public_id("run", text))
        except NotFound:
            return rows.filter(task=text)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.change_run")

    # What customers sent is left out of all of these.

    @admin.display(description="timers")
    def timers(self, run: Run) -> str:
        return table(["kind", "due_at"], Timer.objects.filter(run_id=run.pk))

    @admin.display(description="waits")
    def waits(self, run: Run) -> str:
        waits = Wait.objects.filter(run_id=run.pk).order_by("created_at")
        return table(["waitpoint_id", "needs_all", "created_at"], waits[:_SHOWN])

    @admin.display(description="journal, from its end")
    def journal(self, run: Run) -> str:
        columns = ["seq", "position", "kind", "name", "ok", "attempts", "took_ms"]
        entries = JournalEntry.objects.filter(run_id=run.pk).defer("output", "error")
        return table(columns, entries.order_by("-seq")[:_SHOWN])

    @admin.display(description="inputs, from the latest")
    def inputs(self, run: Run) -> str:
        sent = Input.objects.filter(run_id=run.pk).defer("data")
        return table(["number", "key", "seq", "sent_at"], sent.order_by("-number")[:_SHOWN])

    @admin.display(description="tags by which it is found")
    def tag_rows(self, run: Run) -> str:
        return table(["tag"], RunTag.objects.filter(run_id=run.pk).order_by("tag")[:_SHOWN])

    @admin.action(description="Requeue the selected runs (lost, delayed)", permissions=["act"])
    def requeue(self, request: HttpRequest, chosen: QuerySet[Run]) -> None:
        def act(scope: Scope, run_id: UUID) -> None:
            requeue_run(scope, run_id=run_id, now=clock.now())

        self._act(request, chosen, act, "put back; the engine takes them at its next look")

    @admin.action(description="Cancel the selected runs", permissions=["act"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[Run]) -> None:
        def act(scope: Scope, run_id: UUID) -> None:
            cancel_run(scope, run_id=run_id, reason="canceled by the staff", now=clock.now())

        self._act(request, chosen, act, "canceled, or told to stop")

    @admin.action(description="Replay the selected runs", permissions=["act"])
    def replay(self, request: HttpRequest, chosen: QuerySet[Run]) -> None:
        def act(scope: Scope, run_id: UUID) -> None:
            replay_run(scope, run_id=run_id, overrides={}, now=clock.now())

        self._act(request, chosen, act, "started anew")

    def _act(
        self,
        request: HttpRequest,
        chosen: QuerySet[Run],
        act: Callable[[Scope, UUID], object],
        done: str,
    ) -> None:
        count, refused = 0, list[str]()
        for run in chosen.select_related("environment")[:_AT_ONCE]:
            try:
                act(_as_staff(request, run), run.pk)
                count += 1
            except DomainError as error:
                refused.append(error.message)
        more = f" {len(refused)} could not be: {refused[0]}." if refused else ""
        self.message_user(request, f"{count} runs were {done}.{more}")


def _as_staff(request: HttpRequest, run: Run) -> Scope:
    """A run's environment, with the log naming the member of the staff."""
    return Scope(
        actor=Actor(kind="user", id=request.user.pk, role=Role.OWNER),
        organization_id=run.environment.organization_id,
        project_id=run.environment.project_id,
        environment_id=run.environment_id,
    )


class OfRun(Large[Attempt]):
    """Rows that name their run by its id."""

    search_help_text = "An id of a run."

    @admin.display(description="run")
    def run(self, row: Attempt) -> str:
        return public_id("run", row.run_id)

    def search(self, rows: QuerySet[Attempt], text: str) -> QuerySet[Attempt]:
        try:
            return rows.filter(run_id=parse_public_id("run", text))
        except NotFound:
            return rows.none()


@admin.register(Attempt)
class AttemptAdmin(OfRun):
    list_display = ["run", "number", "status", "started_at", "finished_at", "executed_ms"]
    list_filter = ["status"]
    exclude = ["error"]


@admin.register(RunEvent)
class RunEventAdmin(OfRun):
    list_display = ["run", "kind", "status", "attempt", "at"]
    list_filter = ["status"]  # of kinds there is no list but the rows themselves


@admin.register(Lease)
class LeaseAdmin(OfRun):
    list_display = ["run", "generation", "holds_slot", "is_started", "claimed_at", "expires_at"]
    list_filter = ["holds_slot", "is_started"]


@admin.register(ReadyRun)
class ReadyRunAdmin(OfRun):
    list_display = ["run", "environment_id", "lane_id", "machine", "order_at"]
    list_filter = ["machine"]


@admin.register(PendingRun)
class PendingRunAdmin(OfRun):
    list_display = ["run", "environment_id", "task"]
    list_filter = ["task"]


class OfEnvironment(Large[Batch]):
    """Rows of one environment each."""

    list_select_related = ["environment__project"]
    search_help_text = "The ref of a project."

    def search(self, rows: QuerySet[Batch], text: str) -> QuerySet[Batch]:
        return rows.filter(environment__project__ref=text)


@admin.register(Batch)
class BatchAdmin(OfEnvironment):
    list_display = ["pk", "environment", "status", "run_count", "created_at", "completed_at"]
    list_filter = ["status"]
    readonly_fields = ["first_items"]

    @admin.display(description="items, the first of them")
    def first_items(self, batch: Batch) -> str:
        columns = ["index", "task", "run_id", "is_cached", "is_finished"]
        return table(columns, batch.items.defer("error").order_by("index")[:_SHOWN])


@admin.register(Waitpoint)
class WaitpointAdmin(OfEnvironment):
    list_display = ["pk", "environment", "kind", "due_at", "created_at", "completed_at"]
    list_filter = ["kind"]
    exclude = ["output", "error"]
    readonly_fields = ["waiters"]

    @admin.display(description="runs that wait for it")
    def waiters(self, waitpoint: Waitpoint) -> str:
        waits = waitpoint.waits.order_by("created_at")
        return table(["run_id", "needs_all", "created_at"], waits[:_SHOWN])


@admin.register(Waking)
class WakingAdmin(ReadOnly[Waking]):
    list_display = ["waitpoint_id", "after"]
    show_full_result_count = False


@admin.register(BulkAction)
class BulkActionAdmin(OfEnvironment):
    list_display = ["pk", "environment", "kind", "status", "success_count", "failure_count",
                    "created_at"]  # fmt: skip
    list_filter = ["kind", "status"]
    readonly_fields = ["newest_items"]

    @admin.display(description="runs that it acted on, the newest of them")
    def newest_items(self, action: BulkAction) -> str:
        items = action.items.order_by("-run_id")
        return table(["run_id", "result_run_id", "error"], items[:_SHOWN])


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(OfEnvironment):
    list_display = ["pk", "environment", "kind", "task", "created_at", "expires_at"]
    list_filter = ["kind"]
    exclude = ["digest"]


@admin.register(QueueSlots)
class QueueSlotsAdmin(OfEnvironment):
    list_display = ["environment", "queue", "used", "cap", "is_open", "is_paused"]
    list_filter = ["is_open", "is_paused"]


@admin.register(Lane)
class LaneAdmin(OfEnvironment):
    list_display = ["environment", "queue", "key", "used", "cap", "is_open", "served_at"]
    list_filter = ["is_open"]


@admin.register(EnvironmentSlots)
class EnvironmentSlotsAdmin(OfEnvironment):
    list_display = ["environment", "used"]
    list_filter = ["environment__type"]
