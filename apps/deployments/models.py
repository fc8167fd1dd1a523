"""What has been shipped, what is current, and which workers there are."""

from __future__ import annotations

from django.db import models

from apps.core.ids import new_id, public_id


class QueueType(models.TextChoices):
    TASK = "task"
    CUSTOM = "custom"


class DeploymentStatus(models.TextChoices):
    PENDING = "PENDING"
    BUILDING = "BUILDING"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"


class InstanceState(models.TextChoices):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class CheckpointState(models.TextChoices):
    ASKED = "asked"  # the worker was asked to close its connections
    PREPARED = "prepared"  # it has, and is silent: the provider may freeze it
    TAKEN = "taken"  # it is an image, and runs nowhere
    RESTORING = "restoring"  # a run of it goes on: the provider was asked to bring it back
    RESTORED = "restored"  # its worker has said hello again
    FAILED = "failed"
    DROPPED = "dropped"  # nobody needs it any more


class Version(models.Model):
    """An immutable build of a project's tasks in one environment."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="versions"
    )
    number = models.CharField(max_length=32)
    content_hash = models.CharField(max_length=128)
    sdk_version = models.CharField(max_length=64, blank=True)
    python_version = models.CharField(max_length=32, blank=True)
    archive = models.CharField(max_length=255, blank=True)
    archive_sha256 = models.CharField(max_length=64, blank=True)
    lock_hash = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "number"], name="version_number_is_unique_in_environment"
            )
        ]

    def __str__(self) -> str:
        return self.number


class Task(models.Model):
    """A task as one version defines it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="tasks")
    slug = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    queue_name = models.CharField(max_length=255)
    queue_type = models.CharField(max_length=8, choices=QueueType.choices, default=QueueType.TASK)
    retry = models.JSONField(default=dict)
    machine = models.CharField(max_length=32, default="small-1x")
    max_duration_seconds = models.PositiveIntegerField(null=True, blank=True)
    ttl_seconds = models.PositiveIntegerField(null=True, blank=True)
    suspend_after_seconds = models.PositiveIntegerField(null=True, blank=True)
    isolation = models.CharField(max_length=16, default="process")
    durable = models.BooleanField(default=False)
    # what becomes of a trigger while a run of the task is open; and how triggers are collected
    overlap = models.CharField(max_length=16, default="allow")
    collect = models.JSONField(null=True, blank=True)
    payload_schema = models.JSONField(null=True, blank=True)
    output_schema = models.JSONField(null=True, blank=True)
    schedules = models.JSONField(default=list, blank=True)
    file_path = models.CharField(max_length=1024, blank=True)
    entry_point = models.CharField(max_length=1024, blank=True)

    class Meta:
        ordering = ("slug",)
        constraints = [
            models.UniqueConstraint(
                fields=["version", "slug"], name="task_slug_is_unique_in_version"
            )
        ]

    def __str__(self) -> str:
        return self.slug


class Queue(models.Model):
    """A queue of an environment: what the code declares, and what people override.

    `concurrency_limit` holds for each concurrency key, `total_limit` for all of them together. A
    rate is ``{"limit", "period", "burst"}``, with the period in seconds; one without a burst counts
    in windows.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="queues"
    )
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=8, choices=QueueType.choices, default=QueueType.TASK)
    concurrency_limit = models.PositiveIntegerField(null=True, blank=True)
    override = models.PositiveIntegerField(null=True, blank=True)
    overridden_at = models.DateTimeField(null=True, blank=True)
    overridden_by = models.CharField(max_length=255, blank=True, default="")
    total_limit = models.PositiveIntegerField(null=True, blank=True)
    total_override = models.PositiveIntegerField(null=True, blank=True)
    total_overridden_at = models.DateTimeField(null=True, blank=True)
    rate = models.JSONField(null=True, blank=True)
    key_rate = models.JSONField(null=True, blank=True)
    max_queued = models.PositiveIntegerField(null=True, blank=True)
    weight = models.FloatField(default=1)
    key_weights = models.JSONField(default=dict, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="queue_name_is_unique_in_environment"
            ),
            models.CheckConstraint(
                condition=models.Q(weight__gt=0), name="queue_weight_is_positive"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def effective_limit(self) -> int | None:
        """How many runs of each key may execute at once."""
        return self.concurrency_limit if self.override is None else self.override

    @property
    def effective_total(self) -> int | None:
        """How many of its runs may execute at once, whatever their keys."""
        return self.total_limit if self.total_override is None else self.total_override


class KeyOverride(models.Model):
    """A limit of one concurrency key of a queue, for a while, instead of the queue's own."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    queue = models.ForeignKey(
        Queue, on_delete=models.CASCADE, related_name="key_overrides", db_index=False
    )
    key = models.CharField(max_length=255)
    cap = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["queue", "key"], name="key_is_overridden_once")
        ]
        indexes = [
            # lapse_overrides
            models.Index(fields=["expires_at"], name="key_override_expiring")
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.cap}"


class Promotion(models.Model):
    """The version that new runs of an environment get."""

    environment = models.OneToOneField(
        "environments.Environment",
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="promotion",
    )
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="promotions")
    promoted_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.version_id)


class Deployment(models.Model):
    """The act and record of shipping a version."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="deployments"
    )
    version = models.OneToOneField(
        Version, on_delete=models.SET_NULL, null=True, blank=True, related_name="deployment"
    )
    status = models.CharField(
        max_length=16, choices=DeploymentStatus.choices, default=DeploymentStatus.PENDING
    )
    short_code = models.CharField(max_length=16)
    content_hash = models.CharField(max_length=128, blank=True)
    archive = models.CharField(max_length=255, blank=True)
    archive_sha256 = models.CharField(max_length=64, blank=True)
    archive_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    promote = models.BooleanField(default=True)
    python_version = models.CharField(max_length=32, blank=True)
    git = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    log = models.TextField(blank=True)
    created_at = models.DateTimeField()
    building_at = models.DateTimeField(null=True, blank=True)
    deployed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [
            # the sweep for builds whose job was lost
            models.Index(
                fields=["building_at"],
                condition=models.Q(status__in=["BUILDING", "DEPLOYING"]),
                name="deployment_building",
            ),
            models.Index(fields=["environment", "-id"], name="deployment_newest"),
        ]

    def __str__(self) -> str:
        return self.short_code


class Pool(models.Model):
    """A named set of workers on one provider."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.SlugField(max_length=63, unique=True)
    provider = models.CharField(max_length=32)
    settings = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Instance(models.Model):
    """One worker that a provider was asked to run."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="instances")
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="instances"
    )
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="instances")
    machine = models.CharField(max_length=32)
    state = models.CharField(
        max_length=16, choices=InstanceState.choices, default=InstanceState.STARTING
    )
    provider_ref = models.CharField(max_length=255, blank=True)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    # when it last had, or could have had, a run: what "idle" is counted from
    busy_at = models.DateTimeField(null=True, blank=True)
    stopping_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [
            # the reconciler's view
            models.Index(
                fields=["pool", "version"],
                condition=models.Q(state__in=["starting", "running", "stopping"]),
                name="instance_live",
            ),
            # the reconciler's memory of crashes
            models.Index(
                fields=["pool", "stopped_at"],
                condition=models.Q(state="failed"),
                name="instance_failed",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["stopped", "failed"], stopped_at__isnull=False)
                | (~models.Q(state__in=["stopped", "failed"]) & models.Q(stopped_at=None)),
                name="instance_stopped_at_iff_ended",
            )
        ]

    def __str__(self) -> str:
        return f"{self.version_id}/{self.machine}"


class WorkerSession(models.Model):
    """One worker process that is, or was, connected; its id is the worker's own, per start."""

    id = models.UUIDField(primary_key=True, editable=False)
    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="worker_sessions"
    )
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="sessions")
    pool = models.CharField(max_length=63, blank=True)
    # no foreign key: an instance may be pruned while its session is still history
    instance_id = models.UUIDField(null=True, blank=True)
    machine = models.CharField(max_length=32, blank=True)
    capacity = models.PositiveIntegerField()
    sdk_version = models.CharField(max_length=64, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    coordinator = models.UUIDField()
    connected_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    disconnected_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-connected_at",)
        indexes = [
            # the reconciler's and the dashboard's "who is connected"
            models.Index(
                fields=["environment", "version"],
                condition=models.Q(disconnected_at__isnull=True),
                name="worker_session_connected",
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Checkpoint(models.Model):
    """A worker that only waits, frozen by its provider into an image and thawed when it is needed.

    `session_id` is the session that was frozen; what it held is found by its leases. The thawed
    worker comes back under another one.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="checkpoints")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="checkpoints")
    # the instance that was started from it
    restored = models.ForeignKey(
        Instance, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    session_id = models.UUIDField()
    state = models.CharField(
        max_length=16, choices=CheckpointState.choices, default=CheckpointState.ASKED
    )
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField()
    moved_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = [
            # the reconciler's view
            models.Index(
                fields=["pool"],
                condition=models.Q(
                    state__in=["asked", "prepared", "taken", "restoring", "restored"]
                ),
                name="checkpoint_open",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["session_id"],
                condition=models.Q(state__in=["asked", "prepared", "taken", "restoring"]),
                name="one_checkpoint_of_a_session",
            )
        ]

    def __str__(self) -> str:
        return public_id("checkpoint", self.pk)
