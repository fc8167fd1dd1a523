"""The engine's tables: history by day, and the small hot set beside it.

`Run`, `Attempt`, `RunEvent`, `RunTag`, `JournalEntry`, `Input` are history: partitioned by day,
without foreign keys, since a partition is dropped as a whole. `ReadyRun`, `Lane`,
`EnvironmentSlots`, `Lease`, `Timer` and `Wait` are the hot set: they hold only what is queued,
executing or waiting.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast

from apps.core.ids import new_id, public_id
from apps.runs.states import (
    FINAL,
    AttemptStatus,
    BatchStatus,
    BulkKind,
    BulkStatus,
    KeyKind,
    RunStatus,
    TimerKind,
    WaitpointKind,
    WaitpointStatus,
)

# plain, sorted values: what goes into a migration must be the same in every process
_FINAL = sorted(status.value for status in FINAL)
_RUNNING = [RunStatus.EXECUTING.value, RunStatus.WAITING.value]

PARTITIONED = (
    "runs_run", "runs_attempt", "runs_runevent", "runs_runtag", "runs_journalentry", "runs_input",
)  # fmt: skip


def _choices(kind: type) -> list[tuple[str, str]]:
    return [(member.value, member.value) for member in kind]  # type: ignore[attr-defined]


class RunQuerySet(models.QuerySet["Run"]):
    def within(self, environment_id: UUID) -> RunQuerySet:
        return self.filter(environment_id=environment_id)

    def open(self) -> RunQuerySet:
        return self.exclude(status__in=FINAL)


class Run(models.Model):
    """One request to execute a task."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.DO_NOTHING, related_name="runs",
        db_constraint=False, db_index=False,
    )  # fmt: skip
    task = models.TextField()
    status = models.TextField(choices=_choices(RunStatus))
    status_reason = models.TextField(blank=True, default="")
    queue = models.TextField()
    concurrency_key = models.TextField(null=True, blank=True)
    version_id = models.UUIDField(null=True, blank=True)
    version_number = models.TextField(null=True, blank=True)
    priority_seconds = models.FloatField(default=0)

    payload = models.TextField(null=True, blank=True)
    payload_type = models.TextField(default="application/json")
    output = models.TextField(null=True, blank=True)
    output_type = models.TextField(default="application/json")
    error = models.JSONField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    metadata_type = models.TextField(default="application/json")
    tags = ArrayField(models.TextField(), default=list, blank=True)

    is_test = models.BooleanField(default=False)
    # whether it executes alone among the runs of its task and key
    is_single = models.BooleanField(default=False)
    # whether it answers for more triggers than its own
    is_shared = models.BooleanField(default=False)
    source = models.TextField(default="api")
    trigger_function = models.TextField(default="trigger")
    idempotency_key = models.TextField(null=True, blank=True)
    idempotency_options = models.JSONField(null=True, blank=True)
    traceparent = models.TextField(null=True, blank=True)

    machine = models.TextField(default="small-1x")
    max_attempts = models.PositiveSmallIntegerField(default=3)
    max_duration_seconds = models.PositiveIntegerField(null=True, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True, blank=True)

    attempt_count = models.PositiveSmallIntegerField(default=0)
    delivery_count = models.PositiveSmallIntegerField(default=0)
    generation = models.PositiveIntegerField(default=0)
    executed_ms = models.BigIntegerField(default=0)

    parent_id = models.UUIDField(null=True, blank=True)
    root_id = models.UUIDField(null=True, blank=True)
    depth = models.PositiveSmallIntegerField(default=0)
    batch_id = models.UUIDField(null=True, blank=True)
    batch_index = models.PositiveIntegerField(null=True, blank=True)
    replay_of_id = models.UUIDField(null=True, blank=True)
    # the attempt that goes on when the run is handed out again: its worker has let it go
    suspended_attempt_id = models.UUIDField(null=True, blank=True)
    schedule_id = models.UUIDField(null=True, blank=True)

    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    queued_at = models.DateTimeField(null=True, blank=True)
    delayed_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=_FINAL, finished_at__isnull=False)
                | Q(~Q(status__in=_FINAL), finished_at__isnull=True),
                name="run_finished_at_iff_final",
            ),
            models.CheckConstraint(
                condition=Q(expired_at__isnull=True) | Q(status=RunStatus.EXPIRED.value),
                name="run_expired_at_only_when_expired",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.DELAYED.value) | Q(delayed_until__isnull=False),
                name="run_delayed_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=_RUNNING)
                | Q(started_at__isnull=False, attempt_count__gt=0),
                name="run_executing_has_started",
            ),
        ]
        indexes = [
            # list_runs
            models.Index(fields=["environment", "-id"], name="run_newest"),
            models.Index(fields=["environment", "task", "-id"], name="run_newest_of_task"),
            # child_runs and the cancellation of descendants
            models.Index(
                fields=["parent_id"], condition=Q(parent_id__isnull=False), name="run_children"
            ),
            models.Index(
                fields=["batch_id", "batch_index"],
                condition=Q(batch_id__isnull=False),
                name="run_batch",
            ),
            # list_runs of a schedule
            models.Index(
                fields=["schedule_id", "-id"],
                condition=Q(schedule_id__isnull=False),
                name="run_newest_of_schedule",
            ),
        ]

    def __str__(self) -> str:
        return public_id("run", self.pk)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class Attempt(models.Model):
    """One try of a run."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    status = models.TextField(choices=_choices(AttemptStatus))
    generation = models.PositiveIntegerField()
    session_id = models.UUIDField()
    version_id = models.UUIDField(null=True, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    executed_ms = models.BigIntegerField(default=0)
    error = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=["run_id"], name="attempt_of_run")]

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} attempt {self.number}"


class RunEvent(models.Model):
    """One move of a run: its timeline, the audit trail, the outbox and the realtime cursor.

    `position` orders the events of one run, whichever process and clock they come from: each is
    written under the run's lock. `transaction` orders events by commit for readers: everything
    below the oldest transaction still running is complete, so a cursor over (transaction, id) never
    misses a late commit.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    transaction = models.BigIntegerField(
        db_default=Cast(
            Cast(models.Func(function="pg_current_xact_id"), models.TextField()),
            models.BigIntegerField(),
        )
    )
    position = models.BigIntegerField(
        db_default=models.Func(
            models.Value("runs_runevent_position"), function="nextval",
            output_field=models.BigIntegerField(),
        )
    )  # fmt: skip
    run_id = models.UUIDField()
    environment_id = models.UUIDField()
    kind = models.TextField()
    status = models.TextField(choices=_choices(RunStatus))
    attempt = models.PositiveSmallIntegerField(default=0)
    at = models.DateTimeField()
    detail = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ("position",)
        indexes = [
            models.Index(fields=["run_id", "id"], name="run_event_timeline"),
            models.Index(fields=["environment_id", "transaction", "id"], name="run_event_cursor"),
        ]

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} {self.kind}"


class RunTag(models.Model):
    """A tag of a run, for the list's filter."""

    pk = models.CompositePrimaryKey("run_id", "tag")
    run_id = models.UUIDField()
    tag = models.TextField()
    environment_id = models.UUIDField()

    class Meta:
        indexes = [models.Index(fields=["environment_id", "tag", "-run_id"], name="run_tag_newest")]

    def __str__(self) -> str:
        return self.tag


class JournalEntry(models.Model):
    """One thing that a durable run has done, and what came of it (`holdfast.protocol.Entry`).

    Written only once and in order, under the lease of the worker that reports it.
    """

    pk = models.CompositePrimaryKey("run_id", "seq")
    run_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    position = models.TextField()
    kind = models.TextField()
    name = models.TextField()
    after = models.PositiveIntegerField(default=0)
    digest = models.TextField(null=True, blank=True)
    ok = models.BooleanField(default=True)
    output = models.TextField(null=True, blank=True)
    output_type = models.TextField(default="application/json")
    error = models.JSONField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=1)
    started_ms = models.BigIntegerField(default=0)
    took_ms = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("run_id", "seq")

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} {self.seq}: {self.kind} {self.name}"


class Input(models.Model):
    """One item that was sent to a run; each key of a run counts its own items, from 0.

    `number` counts all items of the run, and `total_bytes` what they have together, so that the
    latest tells how much there is. `part` is the sender's name for an item that it may send again.
    """

    pk = models.CompositePrimaryKey("run_id", "number")
    run_id = models.UUIDField()
    number = models.PositiveIntegerField()
    key = models.TextField()
    seq = models.PositiveIntegerField()
    part = models.TextField(null=True, blank=True)
    data = models.TextField(null=True, blank=True)
    data_type = models.TextField(default="application/json")
    total_bytes = models.BigIntegerField()
    sent_at = models.DateTimeField()

    class Meta:
        ordering = ("run_id", "number")
        constraints = [
            # list_inputs, make_inputs
            models.UniqueConstraint(fields=["run_id", "key", "seq"], name="input_is_unique"),
            models.UniqueConstraint(
                fields=["run_id", "key", "part"],
                condition=Q(part__isnull=False),
                name="input_part_is_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} {self.key}[{self.seq}]"


class QueueSlots(models.Model):
    """What the claim knows of a queue: its limits over all keys, and how much of them is used.

    `cap` limits all runs of the queue, `key_cap` those of each lane. A rate is so many starts per
    so many seconds: spread out evenly with `burst` at once, or, without a burst, in windows that
    open with their first start. `held_until` is set while the rate allows no start.

    `turn` and `clock` are virtual times: the queue comes after those of its environment with an
    earlier turn, and each start moves it on by 1/weight; its clock is the turn of the lane that was
    served latest, which no lane may fall behind.
    """

    id = models.BigAutoField(primary_key=True)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    queue = models.TextField()
    cap = models.PositiveIntegerField(null=True, blank=True)
    key_cap = models.PositiveIntegerField(null=True, blank=True)
    used = models.IntegerField(default=0)
    is_open = models.BooleanField(default=False)
    is_paused = models.BooleanField(default=False)
    weight = models.FloatField(default=1)
    turn = models.FloatField(default=0)
    clock = models.FloatField(default=0)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    rate_seconds = models.FloatField(null=True, blank=True)
    rate_burst = models.PositiveIntegerField(null=True, blank=True)
    rate_at = models.DateTimeField(null=True, blank=True)
    rate_used = models.PositiveIntegerField(default=0)
    held_until = models.DateTimeField(null=True, blank=True)
    key_rate_limit = models.PositiveIntegerField(null=True, blank=True)
    key_rate_seconds = models.FloatField(null=True, blank=True)
    key_rate_burst = models.PositiveIntegerField(null=True, blank=True)
    key_weights = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["environment", "queue"], name="queue_slots_are_unique"),
            models.CheckConstraint(
                condition=Q(used__gte=0), name="queue_slots_used_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(weight__gt=0), name="queue_slots_weight_is_positive"
            ),
        ]
        indexes = [
            # claim: the queues with room, in their turn
            models.Index(
                fields=["environment", "turn"],
                condition=Q(is_open=True, is_paused=False, held_until__isnull=True)
                & (Q(cap__isnull=True) | Q(used__lt=models.F("cap"))),
                name="queue_with_room",
            ),
            # claim: those whose rate allows a start again
            models.Index(
                fields=["environment", "held_until"],
                condition=Q(is_open=True, is_paused=False, held_until__isnull=False)
                & (Q(cap__isnull=True) | Q(used__lt=models.F("cap"))),
                name="queue_held",
            ),
        ]

    def __str__(self) -> str:
        return self.queue


class Lane(models.Model):
    """A queue narrowed to one concurrency key: its limit, and how much of it is used.

    `is_open` means that the lane may have ready runs: whoever adds one opens it, and the claim
    closes it when it has none and nobody is adding one. An open lane's queue is open. `task` names
    the one task of a lane that lets a single run of it execute at once.
    """

    id = models.BigAutoField(primary_key=True)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    slots = models.ForeignKey(
        QueueSlots, on_delete=models.CASCADE, related_name="lanes", db_index=False
    )
    queue = models.TextField()
    key = models.TextField(default="", blank=True)
    task = models.TextField(default="", blank=True)
    cap = models.PositiveIntegerField(null=True, blank=True)
    used = models.IntegerField(default=0)
    is_open = models.BooleanField(default=False)
    weight = models.FloatField(default=1)
    turn = models.FloatField(default=0)
    rate_at = models.DateTimeField(null=True, blank=True)
    rate_used = models.PositiveIntegerField(default=0)
    held_until = models.DateTimeField(null=True, blank=True)
    served_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["slots", "key", "task"], name="lane_is_unique"),
            models.CheckConstraint(condition=Q(used__gte=0), name="lane_used_is_not_negative"),
            models.CheckConstraint(condition=Q(weight__gt=0), name="lane_weight_is_positive"),
        ]
        indexes = [
            # claim: the lanes with room, in their turn
            models.Index(
                fields=["slots", "turn"],
                condition=Q(is_open=True, held_until__isnull=True)
                & (Q(cap__isnull=True) | Q(used__lt=models.F("cap"))),
                name="lane_with_room",
            ),
            # claim: those whose rate allows a start again
            models.Index(
                fields=["slots", "held_until"],
                condition=Q(is_open=True, held_until__isnull=False)
                & (Q(cap__isnull=True) | Q(used__lt=models.F("cap"))),
                name="lane_held",
            ),
            # close_queues: whether a queue has an open lane
            models.Index(fields=["slots"], condition=Q(is_open=True), name="lane_open"),
            # forget_lanes: keys that nothing has been heard of
            models.Index(
                fields=["served_at"], condition=Q(is_open=False, used=0), name="lane_unused"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue}/{self.key}" if self.key else self.queue


class EnvironmentSlots(models.Model):
    """How many runs of an environment execute now, and its place in the line of environments.

    `clock` is the virtual time of its queues. `turn` and `tag` (the turn that was served latest)
    are its own, among the environments of its organization. `organization_tag` is that of the
    organization among others, as of the latest start here: the highest of its environments counts.
    """

    environment = models.OneToOneField(
        "environments.Environment", on_delete=models.CASCADE, primary_key=True, related_name="slots"
    )
    used = models.IntegerField(default=0)
    clock = models.FloatField(default=0)
    turn = models.FloatField(default=0)
    tag = models.FloatField(default=0)
    organization_tag = models.FloatField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(used__gte=0), name="environment_slots_used_is_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return str(self.used)


class ReadyRun(models.Model):
    """A run that may start now; the claim deletes the row.

    `version_id` narrows it to one version's workers, `session_id` to the worker that holds its
    suspended process.
    """

    run_id = models.UUIDField(primary_key=True)
    environment_id = models.UUIDField()
    # no constraint in the database: who adds one holds the lane, and a lane that is used stays
    lane = models.ForeignKey(
        Lane, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    version_id = models.UUIDField(null=True, blank=True)
    session_id = models.UUIDField(null=True, blank=True)
    machine = models.TextField()
    order_at = models.DateTimeField()

    class Meta:
        indexes = [
            # claim
            models.Index(
                fields=["lane", "version_id", "order_at", "run_id"],
                condition=Q(session_id__isnull=True),
                name="ready_in_order",
            ),
            # resume
            models.Index(
                fields=["session_id", "order_at"],
                condition=Q(session_id__isnull=False),
                name="ready_held",
            ),
            # forget_lanes
            models.Index(
                fields=["lane"], condition=Q(session_id__isnull=False), name="ready_held_in_lane"
            ),
            # demand, per version
            models.Index(fields=["environment_id", "version_id", "machine"], name="ready_demand"),
        ]

    def __str__(self) -> str:
        return public_id("run", self.run_id)


class PendingRun(models.Model):
    """A run that was triggered before any version had its task.

    When one is promoted that has it, the run takes over what it says, and is queued.
    """

    run_id = models.UUIDField(primary_key=True)
    environment_id = models.UUIDField()
    task = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["environment_id", "task"], name="pending_by_task")]

    def __str__(self) -> str:
        return public_id("run", self.run_id)


class Lease(models.Model):
    """A worker's claim on a run; a message under another generation changes nothing."""

    run_id = models.UUIDField(primary_key=True)
    environment_id = models.UUIDField()
    # no constraint in the database: who adds one holds the lane, and a lane that is used stays
    lane = models.ForeignKey(
        Lane, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    version_id = models.UUIDField()
    session_id = models.UUIDField()
    generation = models.PositiveIntegerField()
    attempt_id = models.UUIDField(null=True, blank=True)
    holds_slot = models.BooleanField(default=True)
    is_started = models.BooleanField(default=False)
    claimed_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["expires_at"], name="lease_expiring"),
            models.Index(fields=["session_id"], name="lease_of_session"),
            models.Index(fields=["version_id"], name="lease_of_version"),
        ]

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} generation {self.generation}"


class Timer(models.Model):
    """What is due later for a run."""

    pk = models.CompositePrimaryKey("run_id", "kind")
    run_id = models.UUIDField()
    kind = models.TextField(choices=_choices(TimerKind))
    due_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["kind", "due_at"], name="timer_due")]

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} {self.kind}"


class Waitpoint(models.Model):
    """Something that runs wait for; it completes once and wakes every waiter once.

    For an input `run_id` is the run that it is sent to, and `seq` the item of `key` that is waited
    for.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    kind = models.TextField(choices=_choices(WaitpointKind))
    run_id = models.UUIDField(null=True, blank=True)
    batch_id = models.UUIDField(null=True, blank=True)
    key = models.TextField(null=True, blank=True)
    seq = models.PositiveIntegerField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    tags = ArrayField(models.TextField(), default=list, blank=True)
    idempotency_key = models.TextField(null=True, blank=True)
    idempotency_expires_at = models.DateTimeField(null=True, blank=True)
    output = models.TextField(null=True, blank=True)
    output_type = models.TextField(default="application/json")
    error = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run_id"],
                condition=Q(kind=WaitpointKind.RUN.value),
                name="one_waitpoint_per_run",
            ),
            models.UniqueConstraint(
                fields=["batch_id"],
                condition=Q(kind=WaitpointKind.BATCH.value),
                name="one_waitpoint_per_batch",
            ),
            models.CheckConstraint(
                condition=~Q(kind=WaitpointKind.TIME.value) | Q(due_at__isnull=False),
                name="waitpoint_of_time_is_due",
            ),
            models.CheckConstraint(
                condition=~Q(kind=WaitpointKind.INPUT.value)
                | Q(run_id__isnull=False, key__isnull=False, seq__isnull=False),
                name="waitpoint_of_input_names_an_item",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(completed_at__isnull=True, due_at__isnull=False),
                name="waitpoint_due",
            ),
            models.Index(fields=["environment", "kind", "-id"], name="waitpoint_newest"),
            # send_input
            models.Index(
                fields=["run_id", "key", "seq"],
                condition=Q(kind=WaitpointKind.INPUT.value, completed_at__isnull=True),
                name="waitpoint_of_input",
            ),
        ]

    def __str__(self) -> str:
        return public_id("waitpoint", self.pk)

    @property
    def status(self) -> WaitpointStatus:
        """How far it is; one that failed has been given up, by its timeout or with what it stood
        for."""
        if self.completed_at is None:
            return WaitpointStatus.WAITING
        return WaitpointStatus.COMPLETED if self.error is None else WaitpointStatus.TIMED_OUT


class Wait(models.Model):
    """A waiting run and one waitpoint that it waits for."""

    pk = models.CompositePrimaryKey("run_id", "waitpoint_id")
    run_id = models.UUIDField()
    waitpoint = models.ForeignKey(Waitpoint, on_delete=models.CASCADE, related_name="waits")
    needs_all = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} waits for {self.waitpoint_id}"


class Waking(models.Model):
    """A completed waitpoint that has more waiters to wake: those whose ids come after `after`."""

    waitpoint = models.OneToOneField(
        Waitpoint, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    after = models.UUIDField()

    def __str__(self) -> str:
        return f"the waiters of {self.waitpoint_id} after {self.after}"


class Batch(models.Model):
    """Runs triggered together, in two phases: announced, then filled item by item."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    status = models.TextField(choices=_choices(BatchStatus), default=BatchStatus.PENDING.value)
    run_count = models.PositiveIntegerField()
    parent_run_id = models.UUIDField(null=True, blank=True)
    resumes_parent = models.BooleanField(default=False)
    idempotency_key = models.TextField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    sealed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["environment", "-id"], name="batch_newest"),
            # abandon_batches
            models.Index(
                fields=["updated_at"],
                condition=Q(sealed_at__isnull=True, completed_at__isnull=True),
                name="batch_to_fill",
            ),
        ]

    def __str__(self) -> str:
        return public_id("batch", self.pk)


class BatchItem(models.Model):
    """One item of a batch: the run it became, or why it could not."""

    pk = models.CompositePrimaryKey("batch_id", "index")
    # no constraint in the database: it costs each item a look, and who adds one holds the batch
    batch = models.ForeignKey(
        Batch, on_delete=models.CASCADE, related_name="items", db_index=False, db_constraint=False
    )
    index = models.PositiveIntegerField()
    task = models.TextField()
    run_id = models.UUIDField(null=True, blank=True)
    is_cached = models.BooleanField(default=False)
    is_finished = models.BooleanField(default=False)
    error = models.JSONField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["run_id"], name="batch_item_of_run")]

    def __str__(self) -> str:
        return f"{self.batch_id}[{self.index}]"


class BulkAction(models.Model):
    """Runs that are canceled or replayed together: those of a filter, or those that are named.

    `cursor` is the latest run that was looked at; they are gone through from the newest on.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    kind = models.TextField(choices=_choices(BulkKind))
    status = models.TextField(choices=_choices(BulkStatus), default=BulkStatus.PENDING.value)
    name = models.TextField(blank=True, default="")
    filters = models.JSONField(null=True, blank=True)
    run_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    cursor = models.UUIDField(null=True, blank=True)
    total_count = models.PositiveIntegerField(null=True, blank=True)
    success_count = models.PositiveIntegerField(default=0)
    failure_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status=BulkStatus.PENDING.value, completed_at=None)
                | (~Q(status=BulkStatus.PENDING.value) & Q(completed_at__isnull=False)),
                name="bulk_action_completed_at_iff_ended",
            )
        ]
        indexes = [
            models.Index(fields=["environment", "-id"], name="bulk_action_newest"),
            # push_bulk_actions
            models.Index(
                fields=["updated_at"],
                condition=Q(status=BulkStatus.PENDING.value),
                name="bulk_action_at_work",
            ),
        ]

    def __str__(self) -> str:
        return public_id("bulk", self.pk)


class BulkItem(models.Model):
    """A run that a bulk action has acted on: the run that replays it, or why it could not."""

    pk = models.CompositePrimaryKey("action_id", "run_id")
    action = models.ForeignKey(
        BulkAction, on_delete=models.CASCADE, related_name="items", db_index=False
    )
    run_id = models.UUIDField()
    result_run_id = models.UUIDField(null=True, blank=True)
    error = models.TextField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{public_id('run', self.run_id)} of {self.action_id}"


class IdempotencyKey(models.Model):
    """What must not be triggered twice, and the run or batch that it triggered."""

    id = models.BigAutoField(primary_key=True)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    kind = models.TextField(choices=_choices(KeyKind))
    task = models.TextField()
    digest = models.BinaryField(max_length=32)
    run_id = models.UUIDField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "kind", "task", "digest"], name="idempotency_key_is_unique"
            )
        ]
        indexes = [
            models.Index(fields=["run_id"], name="idempotency_key_of_run"),
            models.Index(fields=["expires_at"], name="idempotency_key_expiring"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.task}"
