"""How each status looks: a word, a tone and an icon, so that colour never says it alone."""

from __future__ import annotations

from dataclasses import dataclass

from apps.runs.states import RunStatus


@dataclass(frozen=True, slots=True)
class Look:
    """How a status is shown."""

    label: str
    tone: str
    icon: str
    is_moving: bool = False


LOOKS: dict[str, Look] = {
    RunStatus.PENDING_VERSION: Look("Pending version", "warn", "circle-help"),
    RunStatus.DELAYED: Look("Delayed", "idle", "clock"),
    RunStatus.QUEUED: Look("Queued", "idle", "circle-dashed"),
    RunStatus.DEQUEUED: Look("Starting", "info", "circle-dot"),
    RunStatus.EXECUTING: Look("Executing", "info", "loader-circle", is_moving=True),
    RunStatus.WAITING: Look("Waiting", "wait", "hourglass"),
    RunStatus.COMPLETED: Look("Completed", "ok", "circle-check"),
    RunStatus.FAILED: Look("Failed", "bad", "circle-x"),
    RunStatus.CANCELED: Look("Canceled", "idle", "ban"),
    RunStatus.CRASHED: Look("Crashed", "bad", "skull"),
    RunStatus.SYSTEM_FAILURE: Look("System failure", "bad", "server"),
    RunStatus.EXPIRED: Look("Expired", "warn", "timer-off"),
    RunStatus.TIMED_OUT: Look("Timed out", "warn", "timer"),
    # of deployments
    "PENDING": Look("Pending", "idle", "circle-dashed"),
    "BUILDING": Look("Building", "info", "loader-circle", is_moving=True),
    "DEPLOYING": Look("Deploying", "info", "loader-circle", is_moving=True),
    "DEPLOYED": Look("Deployed", "ok", "circle-check"),
    # of batches
    "PROCESSING": Look("Processing", "info", "loader-circle", is_moving=True),
    "PARTIAL_FAILED": Look("Partly failed", "warn", "triangle-alert"),
    "ABORTED": Look("Aborted", "bad", "ban"),
    # of the times of schedules
    "triggered": Look("Triggered", "ok", "circle-check"),
    "skipped": Look("Skipped", "idle", "circle-slash"),
    "missed": Look("Missed", "warn", "timer-off"),
    "failed": Look("Failed", "bad", "circle-x"),
}
# From the bottom of a bar upwards.
TONES_OF_BARS = ("ok", "bad", "warn", "info", "wait", "idle")
_UNKNOWN_ICON = "circle"


def look_of(status: str) -> Look:
    """The look of a status; one that is new here is shown as it is written."""
    return LOOKS.get(status) or Look(status.replace("_", " ").capitalize(), "idle", _UNKNOWN_ICON)
