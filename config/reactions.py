"""Who listens to which fact: the one table of the whole system."""

from __future__ import annotations

from apps.accounts.facts import SignInLinkCreated
from apps.accounts.reactions import mail_sign_in_link
from apps.core.facts import Listener
from apps.deployments.facts import (
    DeploymentFinalized,
    QueuesChanged,
    VersionPromoted,
    WorkerToFreeze,
)
from apps.deployments.jobs import start_build
from apps.environments.facts import EnvironmentLimitsChanged, EnvironmentResumed
from apps.environments.reactions import forget_credentials
from apps.orgs.facts import InviteCreated, MemberRemoved, OrganizationLimitChanged
from apps.orgs.reactions import mail_invite
from apps.projects.facts import ProjectArchived
from apps.runs.facts import (
    BulkActionCreated,
    CancelRequested,
    RunsFinished,
    RunsNoted,
    RunsReady,
    RunsStarted,
    RunsTriggered,
)
from apps.runs.jobs import kick, start_bulk_action, warm_up
from apps.runs.reactions import (
    adopt_queues,
    count_finished,
    count_triggered,
    measure_starts,
    release_waiting,
    ring_for_all,
    ring_for_cancel,
    ring_for_change,
    ring_for_freeze,
    ring_for_ready,
    ring_for_resumption,
)
from apps.schedules.reactions import adopt_declarations

REACTIONS: dict[type, tuple[Listener, ...]] = {
    DeploymentFinalized: (start_build,),
    BulkActionCreated: (start_bulk_action,),
    EnvironmentLimitsChanged: (ring_for_resumption,),
    EnvironmentResumed: (ring_for_resumption,),
    OrganizationLimitChanged: (ring_for_all,),
    CancelRequested: (ring_for_cancel, ring_for_change),
    QueuesChanged: (adopt_queues,),
    RunsFinished: (count_finished, ring_for_change),
    RunsTriggered: (count_triggered, ring_for_change),
    RunsStarted: (measure_starts, ring_for_change),
    RunsNoted: (ring_for_change,),
    RunsReady: (ring_for_ready, kick),
    VersionPromoted: (release_waiting, warm_up, adopt_declarations),
    WorkerToFreeze: (ring_for_freeze,),
    SignInLinkCreated: (mail_sign_in_link,),
    InviteCreated: (mail_invite,),
    MemberRemoved: (forget_credentials,),
    ProjectArchived: (forget_credentials,),
}
