"""Write tasks in Python and run them for as long as they take.

    from holdfast import task

    @task(retry=5)
    async def greet(name: str) -> str:
        return f"hello {name}"

Inside of tasks: `ctx`, `logger`, `metadata`, `tags`. From anywhere: `greet.trigger("alice")`,
`trigger("greet", "alice")`, `HoldfastClient`.
"""

from holdfast import wait
from holdfast.api_errors import ApiError
from holdfast.client import HoldfastClient, SyncHoldfastClient
from holdfast.client.results import BatchHandle, RunHandle
from holdfast.context import Context, ctx
from holdfast.durable import StepOptions, now, patched, random, step, step_sync, uuid
from holdfast.errors import (
    Abort,
    BatchAbandoned,
    ChildRunFailed,
    DuplicateTask,
    Evicted,
    HoldfastError,
    InputInvalid,
    InputTimedOut,
    NonDeterminismError,
    NotInRun,
    OutOfMemory,
    OutputInvalid,
    PayloadInvalid,
    RunCanceled,
    StepFailed,
    StepTimedOut,
    TokenInvalid,
    TokenTimedOut,
)
from holdfast.flow import Collect, Queue, Rate
from holdfast.hooks import global_hooks
from holdfast.log import logger
from holdfast.metadata import metadata
from holdfast.retry import Retry
from holdfast.schedules import Schedule, ScheduledRun, schedule
from holdfast.tags import tags
from holdfast.tasks import Task, task
from holdfast.triggering import (
    IdempotencyKey,
    Options,
    batch_trigger,
    batch_trigger_and_wait,
    batch_trigger_sync,
    item,
    trigger,
    trigger_and_wait,
    trigger_sync,
)

on_start = global_hooks.on_start
on_success = global_hooks.on_success
on_failure = global_hooks.on_failure
on_complete = global_hooks.on_complete
on_cancel = global_hooks.on_cancel
on_wait = global_hooks.on_wait
on_resume = global_hooks.on_resume
middleware = global_hooks.middleware

__all__ = [
    "Abort",
    "ApiError",
    "BatchAbandoned",
    "BatchHandle",
    "ChildRunFailed",
    "Collect",
    "Context",
    "DuplicateTask",
    "Evicted",
    "HoldfastClient",
    "HoldfastError",
    "IdempotencyKey",
    "InputInvalid",
    "InputTimedOut",
    "NonDeterminismError",
    "NotInRun",
    "Options",
    "OutOfMemory",
    "OutputInvalid",
    "PayloadInvalid",
    "Queue",
    "Rate",
    "Retry",
    "RunCanceled",
    "RunHandle",
    "Schedule",
    "ScheduledRun",
    "StepFailed",
    "StepOptions",
    "StepTimedOut",
    "SyncHoldfastClient",
    "Task",
    "TokenInvalid",
    "TokenTimedOut",
    "batch_trigger",
    "batch_trigger_and_wait",
    "batch_trigger_sync",
    "ctx",
    "item",
    "logger",
    "metadata",
    "middleware",
    "now",
    "on_cancel",
    "on_complete",
    "on_failure",
    "on_resume",
    "on_start",
    "on_success",
    "on_wait",
    "patched",
    "random",
    "schedule",
    "step",
    "step_sync",
    "tags",
    "task",
    "trigger",
    "trigger_and_wait",
    "trigger_sync",
    "uuid",
    "wait",
]
