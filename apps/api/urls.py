"""The routes of the contract, and those that Holdfast adds beside them."""

from __future__ import annotations

from django.urls import path, re_path

from apps.api.health import health_routes
from apps.api.logs import log_routes
from apps.api.otlp import otlp_routes
from apps.api.schema import Schema
from apps.api.views import (
    accounts,
    batches,
    branches,
    bulk,
    deployments,
    environments,
    explanations,
    inputs,
    journals,
    keys,
    members,
    organizations,
    packets,
    queues,
    runs,
    schedules,
    triggers,
    unknown,
    variables,
    waitpoints,
)
from apps.api.views import concurrency_limits as limits

_PROJECT = "api/v1/projects/<str:ref>"
_ORGANIZATION = "api/v1/orgs/<str:organization>"

urlpatterns = [
    # Runs are started
    path("api/v1/tasks/<path:task>/trigger", triggers.TriggerTask.as_view()),
    path("api/v1/triggers", triggers.TriggerList.as_view()),
    path("api/v2/tasks/batch", batches.TaskBatch.as_view()),
    path("api/v1/tasks/batch", batches.TaskBatchV1.as_view()),
    path("api/v1/tasks/<path:task>/batch", batches.OneTaskBatch.as_view()),
    path("api/v3/batches", batches.BatchList.as_view()),
    path("api/v3/batches/<str:batch>/items", batches.BatchItems.as_view()),
    path("api/v2/batches/<str:batch>", batches.BatchDetail.as_view()),
    path("api/v1/batches/<str:batch>", batches.BatchDetailV1.as_view()),
    path("api/v1/batches/<str:batch>/results", batches.BatchResults.as_view()),
    # Runs are looked at and acted on
    path("api/v1/runs", runs.RunList.as_view()),
    path("api/v3/runs/<str:run>", runs.RunDetail.as_view()),
    path("api/v2/runs/<str:run>/cancel", runs.RunCancellation.as_view()),
    path("api/v1/runs/<str:run>/cancel", runs.RunCancellationV1.as_view()),
    path("api/v1/runs/<str:run>/replay", runs.RunReplay.as_view()),
    path("api/v1/runs/<str:run>/reschedule", runs.RunSchedule.as_view()),
    path("api/v1/runs/<str:run>/tags", runs.RunTags.as_view()),
    path("api/v1/runs/<str:run>/metadata", runs.RunMetadata.as_view()),
    path("api/v1/runs/<str:run>/result", runs.RunResult.as_view()),
    path("api/v1/runs/<str:run>/events", runs.RunEvents.as_view()),
    path("api/v1/runs/<str:run>/journal", journals.RunJournal.as_view()),
    path("api/v1/runs/<str:run>/fork", journals.RunFork.as_view()),
    path("api/v1/runs/<str:run>/explanation", explanations.RunExplanation.as_view()),
    re_path(
        r"^api/v1/runs/(?P<run>[^/]+)/packets/(?P<part>payload|output)$",
        packets.RunPacket.as_view(),
    ),
    path("api/v1/bulk-actions", bulk.BulkActionList.as_view()),
    path("api/v1/bulk-actions/<str:bulk>", bulk.BulkActionDetail.as_view()),
    path("api/v1/bulk-actions/<str:bulk>/abort", bulk.BulkActionAbortion.as_view()),
    path("api/v1/idempotencyKeys/<str:key>/reset", runs.IdempotencyKeyReset.as_view()),
    *log_routes,
    # Queues
    path("api/v1/queues", queues.QueueList.as_view()),
    path("api/v1/queues/<path:queue>/pause", queues.QueuePause.as_view()),
    path("api/v1/queues/<path:queue>/concurrency/override", queues.QueueOverride.as_view()),
    path("api/v1/queues/<path:queue>/concurrency/reset", queues.QueueReset.as_view()),
    path("api/v1/queues/<path:queue>", queues.QueueDetail.as_view()),
    path("api/v1/concurrency-limits", limits.ConcurrencyLimitList.as_view()),
    path(
        "api/v1/concurrency-limits/<path:limit>/override", limits.ConcurrencyLimitOverride.as_view()
    ),
    path("api/v1/concurrency-limits/<path:limit>/pause", limits.ConcurrencyLimitPause.as_view()),
    path("api/v1/concurrency-limits/<path:limit>/reset", limits.ConcurrencyLimitReset.as_view()),
    path("api/v1/concurrency-limits/<path:limit>", limits.ConcurrencyLimitDetail.as_view()),
    # Tokens
    path("api/v1/waitpoints/tokens", waitpoints.TokenList.as_view()),
    path("api/v1/waitpoints/tokens/<str:token>", waitpoints.TokenDetail.as_view()),
    path("api/v1/waitpoints/tokens/<str:token>/complete", waitpoints.TokenCompletion.as_view()),
    path(
        "api/v1/waitpoints/tokens/<str:token>/callback/<str:secret>",
        waitpoints.TokenCallback.as_view(),
    ),
    path(
        "engine/v1/runs/<str:run>/waitpoints/tokens/<str:token>/wait",
        waitpoints.RunTokenWait.as_view(),
    ),
    path("engine/v1/runs/<str:run>/wait/duration", waitpoints.RunTimeWait.as_view()),
    # Inputs; what was sent is read as a stream, see apps.realtime.routes
    path("realtime/v1/streams/<str:run>/input/<path:key>", inputs.RunInput.as_view()),
    path("api/v1/runs/<str:run>/input-streams/wait", inputs.RunInputWait.as_view()),
    # Schedules
    path("api/v1/schedules", schedules.ScheduleList.as_view()),
    path("api/v1/schedules/upcoming", schedules.UpcomingTimes.as_view()),
    path("api/v1/schedules/<str:schedule>", schedules.ScheduleDetail.as_view()),
    path("api/v1/schedules/<str:schedule>/activate", schedules.ScheduleActivation.as_view()),
    path("api/v1/schedules/<str:schedule>/deactivate", schedules.ScheduleDeactivation.as_view()),
    path("api/v1/schedules/<str:schedule>/backfill", schedules.ScheduleBackfill.as_view()),
    path("api/v1/schedules/<str:schedule>/ticks", schedules.ScheduleTicks.as_view()),
    path("api/v1/timezones", schedules.TimezoneList.as_view()),
    # Large packets
    path("api/v2/packets/<path:key>", packets.PacketUpload.as_view()),
    path("api/v1/packets/<path:key>", packets.Packet.as_view()),
    path("api/v1/blobs/<path:signature>", packets.Blob.as_view()),
    # Versions are shipped
    path("api/v1/deployments", deployments.DeploymentList.as_view()),
    path("api/v1/deployments/current", deployments.CurrentDeployment.as_view()),
    path("api/v1/deployments/<str:deployment>", deployments.DeploymentDetail.as_view()),
    path("api/v1/deployments/<str:deployment>/archive", deployments.DeploymentArchive.as_view()),
    path("api/v1/deployments/<str:deployment>/finalize", deployments.Finalization.as_view()),
    path(
        "api/v1/deployments/<str:deployment>/cancel", deployments.DeploymentCancellation.as_view()
    ),
    path("api/v1/deployments/<str:version>/promote", deployments.Promotion.as_view()),
    path(f"{_PROJECT}/background-workers", deployments.WorkerList.as_view()),
    # Environments of a project; those that name a thing come before those that name an environment
    path(f"{_PROJECT}/runs", runs.ProjectRunList.as_view()),
    path(f"{_PROJECT}/envvars", variables.RuntimeVariables.as_view()),
    path(f"{_PROJECT}/envvars/<str:env>", variables.VariableList.as_view()),
    path(f"{_PROJECT}/envvars/<str:env>/import", variables.VariableImport.as_view()),
    path(f"{_PROJECT}/envvars/<str:env>/<str:name>", variables.VariableDetail.as_view()),
    path(f"{_PROJECT}/environments", branches.EnvironmentList.as_view()),
    path(f"{_PROJECT}/branches", branches.BranchList.as_view()),
    path(f"{_PROJECT}/branches/archive", branches.BranchArchival.as_view()),
    path(f"{_PROJECT}/<str:env>", environments.EnvironmentAccess.as_view()),
    path(f"{_PROJECT}/<str:env>/pause", environments.EnvironmentPause.as_view()),
    path(f"{_PROJECT}/<str:env>/resume", environments.EnvironmentResumption.as_view()),
    path(f"{_PROJECT}/<str:env>/regenerate-api-key", environments.EnvironmentKey.as_view()),
    path(f"{_PROJECT}/<str:env>/jwt", environments.EnvironmentToken.as_view()),
    path(f"{_PROJECT}/<str:env>/limits", branches.EnvironmentLimits.as_view()),
    path(f"{_PROJECT}/<str:env>/concurrency", branches.EnvironmentConcurrency.as_view()),
    path(f"{_PROJECT}/<str:env>/api-keys", keys.ApiKeyList.as_view()),
    path(f"{_PROJECT}/<str:env>/api-keys/<str:api_key>", keys.ApiKeyDetail.as_view()),
    # Organizations, their projects and their people
    path("api/v1/orgs", organizations.OrganizationList.as_view()),
    path(_ORGANIZATION, organizations.OrganizationDetail.as_view()),
    path(f"{_ORGANIZATION}/membership", organizations.OwnMembership.as_view()),
    path(f"{_ORGANIZATION}/projects", organizations.ProjectsOfOrganization.as_view()),
    path(f"{_ORGANIZATION}/members", members.MemberList.as_view()),
    path(f"{_ORGANIZATION}/members/<str:user>", members.MemberDetail.as_view()),
    path(f"{_ORGANIZATION}/invites", members.InviteList.as_view()),
    path(f"{_ORGANIZATION}/invites/<str:invite>", members.InviteDetail.as_view()),
    path(f"{_ORGANIZATION}/invites/<str:invite>/resend", members.InviteRenewal.as_view()),
    path(f"{_ORGANIZATION}/audit", members.AuditLog.as_view()),
    path("api/v1/invites/accept", members.InviteAcceptance.as_view()),
    path("api/v1/projects", organizations.ProjectList.as_view()),
    path(_PROJECT, organizations.ProjectDetail.as_view()),
    # Who is calling
    path("api/v2/whoami", accounts.WhoAmI.as_view()),
    path("api/v1/whoami", accounts.WhoAmIV1.as_view()),
    path("api/v1/account", accounts.OwnAccount.as_view()),
    path("api/v1/account/tokens", accounts.AccessTokenList.as_view()),
    path("api/v1/account/tokens/<str:personal_token>", accounts.AccessTokenDetail.as_view()),
    path("api/v1/account/sessions", accounts.SessionList.as_view()),
    path("api/v1/account/sessions/<str:session>", accounts.SessionDetail.as_view()),
    path("api/v1/auth/jwt/claims", environments.TokenClaims.as_view()),
    path("api/v1/auth/jwt", environments.PublicToken.as_view()),
    path("api/v1/authorization-code", accounts.LoginCode.as_view()),
    path("api/v1/token", accounts.LoginToken.as_view()),
    # This API
    path("api/schema", Schema.as_view()),
    *otlp_routes,
    *health_routes,
    re_path(r"^api/", unknown.Unknown.as_view()),
]
