"""What the engine does when others tell it something, and how it rings."""

from __future__ import annotations

from collections import Counter

from apps.core import bell, metrics
from apps.core.ids import public_id
from apps.deployments.facts import QueuesChanged, VersionPromoted, WorkerToFreeze
from apps.environments.facts import EnvironmentLimitsChanged, EnvironmentResumed
from apps.runs.facts import CancelRequested, RunsFinished, RunsReady, RunsStarted, RunsTriggered
from apps.runs.operations.lengths import forget_caps
from apps.runs.operations.versions import apply_queues, release_pending


def ring_for_ready(fact: RunsReady) -> None:
    bell.ring("ready", environment=str(fact.environment_id))


def ring_for_resumption(fact: EnvironmentResumed | EnvironmentLimitsChanged) -> None:
    bell.ring("ready", environment=str(fact.environment_id))


def ring_for_all(_: object) -> None:
    """Something that bears on many environments: whoever has free places looks now."""
    bell.ring("ready", environment=None)


def ring_for_change(_: object) -> None:
    """Whoever follows the events of runs looks now; which ones, the feed says."""
    bell.ring_seldom("changed")


def ring_for_cancel(fact: CancelRequested) -> None:
    bell.ring("cancel", session=str(fact.session_id), run=str(fact.run_id))


def count_triggered(fact: RunsTriggered) -> None:
    metrics.runs_triggered.inc(fact.count)


def measure_starts(fact: RunsStarted) -> None:
    for seconds in fact.waited_seconds:
        metrics.run_start_seconds.observe(seconds)


def count_finished(fact: RunsFinished) -> None:
    for status, count in Counter(fact.statuses).items():
        metrics.runs_finished.labels(status).inc(count)


def ring_for_freeze(fact: WorkerToFreeze) -> None:
    checkpoint = public_id("checkpoint", fact.checkpoint_id)
    bell.ring("freeze", session=str(fact.session_id), checkpoint=checkpoint)


def release_waiting(fact: VersionPromoted) -> None:
    release_pending(fact.environment_id, now=fact.at)


def adopt_queues(fact: QueuesChanged) -> None:
    forget_caps()
    apply_queues(fact.environment_id, now=fact.at)
