"""An environment as it looks after a busy morning: something of everything, for whoever looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from apps.accounts.models import User
from apps.core import clock
from apps.core.ids import public_id
from apps.deployments.models import Deployment, DeploymentStatus, Queue, Task, Version
from apps.deployments.operations.queues import override_key
from apps.deployments.operations.shipping import create_deployment
from apps.environments.operations.variables import set_variable
from apps.orgs.operations.invites import invite_member
from apps.orgs.roles import Role
from apps.runs.operations.batch import BatchItemRequest, add_batch_items, create_batch
from apps.runs.operations.bulk import create_bulk_action
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.trigger import TriggerRequest, trigger_run
from apps.runs.operations.waitpoints import create_token
from apps.runs.queries import RunFilters
from apps.runs.states import BulkKind
from apps.schedules.operations.manage import ScheduleRequest, create_schedule
from apps.telemetry.operations.intake import Encoding, buffer, take_logs, take_spans
from holdfast.protocol import Entry, Steps
from tests import factories
from tests.runs.engine import Worker, ask, completed, failed, suspended, version
from tests.telemetry import exports

_WRITTEN_SECONDS = 60
_SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "description": "Whom to greet"},
        "times": {"type": "integer", "default": 1, "minimum": 1},
        "loud": {"type": "boolean", "default": False},
    },
}
_TRACE = (
    'Traceback (most recent call last):\n  File "tasks/shop.py", line 31, in charge\n    pay()\n'
)
_ORDER = json.dumps({"order": 17, "lines": [{"sku": f"SKU-{n}", "count": n} for n in range(9)]})
_BOB = '{"name": "bob"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """Acme's production, and things in it worth a look."""

    tenant: factories.Tenant
    person: User
    root: str
    run: str
    failed_run: str
    waiting_run: str
    blocked_run: str
    durable_run: str
    schedule: str
    queue: str
    paused_queue: str
    token: str
    batch: str
    bulk_action: str
    deployment: str
    invite: str

    def path(self, below: str) -> str:
        return f"{self.root}/{below}"


def furnish() -> Furnished:
    """Acme with a version, runs in every state, and alice in front of it."""
    tenant = factories.acme()
    now = clock.now() - timedelta(minutes=5)
    made = version(tenant.production, "greet", "parent", "send-mail")
    Task.objects.filter(version=made, slug="greet").update(payload_schema=_SCHEMA)
    queue, paused = _queues(tenant, now)
    worker = Worker(made, free=20)
    done = _done(tenant, worker, now)
    broken = _failed(tenant, worker, now)
    durable = _durable(tenant, worker, now)
    waiting = _waiting(tenant, worker, now)
    blocked = _queued(tenant, now)
    canceled = ask(tenant.scope, "send-mail", now=now).run_id
    cancel_run(tenant.scope, run_id=canceled, now=now + timedelta(seconds=3))
    return Furnished(
        tenant=tenant,
        person=_without_password(factories.alice()),
        root=(
            f"/orgs/{tenant.organization.slug}/projects/{tenant.project.slug}"
            f"/env/{tenant.production.slug}"
        ),
        run=public_id("run", done),
        failed_run=public_id("run", broken),
        waiting_run=public_id("run", waiting),
        blocked_run=public_id("run", blocked),
        durable_run=public_id("run", durable),
        schedule=_schedule(tenant, now),
        queue=queue,
        paused_queue=paused,
        token=_token(tenant, now),
        batch=_batch(tenant, now),
        bulk_action=_bulk_action(tenant, now),
        deployment=_deployment(tenant, made, now),
        invite=_people(tenant, now),
    )


def _without_password(person: User) -> User:
    """As nearly everybody comes in: by links."""
    person.set_unusable_password()
    person.save(update_fields=["password"])
    return person


def _done(tenant: factories.Tenant, worker: Worker, now: datetime):
    request = TriggerRequest(
        task="greet", payload='{"name": "alice", "times": 3}', tags=("customer_1", "welcome"),
        metadata={"progress": 0.4, "step": "greeting"},
    )  # fmt: skip
    run_id = trigger_run(tenant.scope, request=request, now=now).run_id
    (work,) = worker.claim(now=now, free=1)
    worker.start(work, now=now)
    worker.say(
        completed(work, output='"hello alice"', executed_ms=1_240),
        now=now + timedelta(seconds=2),
    )
    return run_id


def _failed(tenant: factories.Tenant, worker: Worker, now: datetime):
    error = {
        "type": "BUILT_IN_ERROR",
        "name": "ConnectionError",
        "message": "the mail server refused the connection",
        "stackTrace": 'File "tasks/mail.py", line 12, in send\n    server.connect(host)\n',
    }
    mail = '{"to": "dora@example.com", "template": "welcome"}'
    run_id = ask(tenant.scope, "send-mail", now=now, payload=mail, tags=("customer_2",)).run_id
    (work,) = worker.claim(now=now, free=1)
    worker.start(work, now=now)
    _traced(tenant, run_id, now)
    worker.say(failed(work, error=error, executed_ms=310), now=now + timedelta(seconds=1))
    return run_id


def _traced(tenant: factories.Tenant, run_id: UUID, now: datetime) -> None:
    """What the failed run said of itself on its way."""

    def at(milliseconds: int) -> int:
        return (int(now.timestamp() * 1_000) + milliseconds) * 1_000_000

    def span(number: int, name: str, begin: int, end: int, above: int = 0, **more: Any) -> Any:
        parent = f"{above:016x}" if above else ""
        return exports.span(
            f"{number:016x}", name, parent=parent, start=at(begin), end=at(end), **more
        )

    tell(
        tenant, run_id,
        span(1, "attempt 1", 0, 1_000, status=2, message="ConnectionError"),
        span(2, "load customer", 15, 190, 1),
        span(3, "SELECT customers", 40, 160, 2),
        span(4, "step render welcome", 200, 430, 1),
        span(5, "POST images.example.com", 260, 400, 4),
        span(6, "smtp.connect", 445, 990, 1, status=2, message="connection refused"),
    )  # fmt: skip
    tell(
        tenant, run_id,
        exports.log("Sending “welcome” to dora@example.com", time=at(10)),
        exports.log("1 customer found", time=at(165), severity=5),
        exports.log("Rendered 14 kB of HTML", time=at(431)),
        exports.log("mail.example.com:587 is slow to answer", time=at(700), severity=13),
        exports.log("the mail server refused the connection", time=at(991), severity=17),
    )  # fmt: skip


def tell(tenant: factories.Tenant, run_id: UUID, *records: Any) -> None:
    """Take spans or log records of a run in, and write them."""
    resource = {"holdfast__run_id": public_id("run", run_id), "holdfast__attempt": 1}
    is_log = hasattr(records[0], "body")
    export = exports.logs(*records, **resource) if is_log else exports.traces(*records, **resource)
    take = take_logs if is_log else take_spans
    body = export.SerializeToString()
    taken = take(tenant.scope, body=body, encoding=Encoding.PROTOBUF, now=clock.now())
    assert taken.accepted == len(records)
    assert buffer().flush(_WRITTEN_SECONDS)


def _durable(tenant: factories.Tenant, worker: Worker, now: datetime):
    """A run with a journal: what it did, with a step that was tried again and one that failed."""
    run_id = ask(tenant.scope, "parent", now=now, payload='{"order": 17}').run_id
    (work,) = worker.claim(now=now, free=1)
    worker.start(work, now=now)
    began = int(now.timestamp() * 1000)
    error = {"name": "Declined", "message": "the card was declined", "stackTrace": _TRACE}
    entries = [
        Entry(seq=1, position="1", kind="step", name="load-order", output=_ORDER, took_ms=12,
              started_ms=began),
        Entry(seq=2, position="2", kind="now", name="now", after=1, output=f"{began}",
              started_ms=began + 20),
        Entry(seq=3, position="3", kind="step", name="charge", after=2, ok=False, error=error,
              attempts=3, took_ms=4_200, started_ms=began + 30),
        Entry(seq=4, position="4", kind="wait", name="time", after=3, took_ms=3_600_000,
              started_ms=began + 5_000),
    ]  # fmt: skip
    worker.say(
        Steps(run=work.run, generation=work.generation, entries=entries),
        now=now + timedelta(seconds=1),
    )
    worker.say(completed(work, output="null", executed_ms=4_300), now=now + timedelta(seconds=5))
    return run_id


def _waiting(tenant: factories.Tenant, worker: Worker, now: datetime):
    run_id = ask(tenant.scope, "parent", now=now).run_id
    (work,) = worker.claim(now=now, free=1)
    worker.start(work, now=now)
    child = ask(
        tenant.scope, "greet", payload=_BOB, parent_run_id=run_id, resume_parent=True,
        concurrency_key="customer_1", now=now,
    )  # fmt: skip
    worker.say(suspended(work, child.waitpoint_id), now=now + timedelta(seconds=1))
    (below,) = worker.claim(now=now, free=1)
    worker.start(below, now=now + timedelta(seconds=2))
    return run_id


def _queued(tenant: factories.Tenant, now: datetime):
    """What waits; the run of the customer whose key is at its limit."""
    runs = [
        ask(
            tenant.scope, "greet", payload=_BOB, now=now, concurrency_key=f"customer_{number % 3}"
        ).run_id
        for number in range(8)
    ]  # fmt: skip
    ask(tenant.scope, "send-mail", now=now, queue="reports")
    ask(tenant.scope, "send-mail", now=now, delay_until=clock.now() + timedelta(hours=1))
    return runs[1]


def _queues(tenant: factories.Tenant, now: datetime) -> tuple[str, str]:
    """One that is overridden, with a key of one at a time; and one that is paused."""
    greet = Queue.objects.create(
        environment=tenant.production, name="task/greet", type="task", concurrency_limit=5,
        total_limit=20, total_override=10, total_overridden_at=now, overridden_by="alice",
        rate={"limit": 100, "period": 1, "burst": 10}, max_queued=1_000, created_at=now,
    )  # fmt: skip
    reports = Queue.objects.create(
        environment=tenant.production, name="reports", type="custom", paused_at=now, created_at=now
    )
    override_key(tenant.scope, name="task/greet", key="customer_1", per_key=1, now=clock.now())
    return public_id("queue", greet.pk), public_id("queue", reports.pk)


def _schedule(tenant: factories.Tenant, now: datetime) -> str:
    request = ScheduleRequest(
        task="send-mail",
        cron="0 9 * * MON-FRI",
        timezone="Europe/Paris",
        payload='{"region": "north"}',
        options={"priority": 60, "tags": ["report"], "ttl": 3600},
    )
    made = create_schedule(tenant.scope, request=request, deduplication_key="daily", now=now)
    return public_id("sched", made.pk)


def _token(tenant: factories.Tenant, now: datetime) -> str:
    due = clock.now() + timedelta(days=2)
    made = create_token(tenant.scope, timeout_at=due, tags=("approval",), now=now)
    return public_id("waitpoint", made.waitpoint_id)


def _batch(tenant: factories.Tenant, now: datetime) -> str:
    made = create_batch(tenant.scope, run_count=2, now=now)
    items = [
        BatchItemRequest(index=n, request=TriggerRequest(task="greet", payload=_BOB))
        for n in range(2)
    ]
    add_batch_items(tenant.scope, batch_id=made.batch_id, items=items, now=now)
    return public_id("batch", made.batch_id)


def _bulk_action(tenant: factories.Tenant, now: datetime) -> str:
    filters = RunFilters(tasks=("send-mail",))
    made = create_bulk_action(tenant.scope, kind=BulkKind.REPLAY, filters=filters, now=now)
    return public_id("bulk", made.pk)


def _deployment(tenant: factories.Tenant, made: Version, now: datetime) -> str:
    """The one that is current, below one that failed."""
    good = create_deployment(tenant.scope, content_hash="good", now=now)
    Deployment.objects.filter(pk=good.pk).update(
        status=DeploymentStatus.DEPLOYED, version=made, deployed_at=now,
        finished_at=now + timedelta(seconds=42), log="Collecting holdfast\nFound 3 tasks\n",
        git={"commitSha": "9f2c1e4d8a", "commitMessage": "Greet louder", "commitRef": "main"},
    )  # fmt: skip
    bad = create_deployment(tenant.scope, content_hash="bad", now=now + timedelta(seconds=60))
    error = {"name": "ResolutionError", "message": "No package is called 'hodlfast'"}
    Deployment.objects.filter(pk=bad.pk).update(
        status=DeploymentStatus.FAILED, finished_at=now + timedelta(seconds=90), error=error
    )
    return public_id("deployment", good.pk)


def _people(tenant: factories.Tenant, now: datetime) -> str:
    """Somebody in each role, somebody who is invited, and what they have left in the log."""
    factories.member(tenant.organization, factories.person("dora"), Role.VIEWER)
    set_variable(tenant.scope, name="REGION", value="eu-central", now=now)
    set_variable(tenant.scope, name="SMTP_PASSWORD", value="hush", is_secret=True, now=now)
    within = factories.organization_as(tenant, factories.alice())
    return invite_member(within, email="erin@example.com", role="viewer", now=clock.now()).token
