"""What holds a run up, as its page shows it: how it looks, and where its cause can be changed."""

from __future__ import annotations

from dataclasses import dataclass

from apps.runs.explanation import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """The look of an explanation; `page` is where its cause can be seen or changed."""

    icon: str
    tone: str
    page: str = ""
    label: str = ""


_TO_DEPLOYMENTS = {"page": "deployments", "label": "Look at the deployments"}
_BLOCKERS = {
    "ended": Blocker(icon="info", tone="idle"),
    "canceling": Blocker(icon="ban", tone="warn"),
    "unknown_task": Blocker(icon="circle-help", tone="warn", **_TO_DEPLOYMENTS),
    "delayed": Blocker(icon="clock", tone="idle"),
    "waiting": Blocker(icon="hourglass", tone="wait"),
    "starting": Blocker(icon="circle-dot", tone="info"),
    "executing": Blocker(icon="play", tone="info"),
    "paused_environment": Blocker(
        icon="circle-pause", tone="warn", page="project_settings", label="Go to the settings"
    ),
    "paused_queue": Blocker(icon="circle-pause", tone="warn"),
    "organization_limit": Blocker(
        icon="sliders-horizontal", tone="warn", page="concurrency", label="Look at the limits"
    ),
    "environment_limit": Blocker(
        icon="sliders-horizontal", tone="warn", page="concurrency", label="Look at the limits"
    ),
    "queue_limit": Blocker(icon="sliders-horizontal", tone="warn"),
    "key_limit": Blocker(icon="sliders-horizontal", tone="warn"),
    "rate_limit": Blocker(icon="timer", tone="warn"),
    "key_rate_limit": Blocker(icon="timer", tone="warn"),
    "held_by_worker": Blocker(icon="circle-dot", tone="info"),
    "behind_others": Blocker(icon="list-filter", tone="idle"),
    "no_worker": Blocker(icon="wifi-off", tone="warn", **_TO_DEPLOYMENTS),
    "workers_full": Blocker(icon="server", tone="warn"),
    "about_to_be_queued": Blocker(icon="circle-dashed", tone="idle"),
}
_OTHERS = Blocker(icon="info", tone="idle")


def blocker_of(why: Explanation) -> Blocker:
    """How an explanation is shown; one of a new kind plainly."""
    return _BLOCKERS.get(why.kind, _OTHERS)
