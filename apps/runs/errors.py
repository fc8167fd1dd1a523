"""Errors of the engine, and the run errors that the platform itself writes (wire contract A.3)."""

from __future__ import annotations

from typing import Any

from apps.core.errors import Conflict, Invalid


class WaitCycle(Invalid):
    """A run may not wait for itself, directly or through its children"""

    code = "wait_cycle"


class QueueFull(Invalid):
    """The queue has as many runs waiting as it may have"""

    code = "queue_full"


class NotCollectable(Invalid):
    """A payload in object storage cannot be collected with others"""

    code = "not_collectable"


class NotReschedulable(Conflict):
    """Only a run that is still delayed can be rescheduled"""

    code = "not_delayed"
    status = 422


class InputTooLate(Conflict):
    """A run that has ended takes no input"""

    code = "run_has_ended"
    status = 400  # what clients of the contract do not try again


def ended_as(status: str) -> dict[str, Any]:
    """A TaskRunError for who waited for a run that ended without success, and without an error."""
    return {"type": "STRING_ERROR", "raw": f"the run ended as {status}"}


def internal(code: str, message: str) -> dict[str, Any]:
    """A TaskRunError for something that the platform, not the task's code, has to say."""
    return {"type": "INTERNAL_ERROR", "code": code, "message": message}


def timed_out() -> dict[str, Any]:
    """What who waits for a token is told when nobody has completed it in time."""
    return {
        "code": "TRIGGER_WAITPOINT_TIMEOUT",
        "message": "The token was not completed in time",
    }


def no_input() -> dict[str, Any]:
    """What who waits for an input is told when nothing has come in time."""
    return {"code": "TRIGGER_WAITPOINT_TIMEOUT", "message": "No input came in time"}
