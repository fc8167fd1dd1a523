"""Every page's address; what belongs to an environment begins with its organization's slug."""

from django.urls import include, path, register_converter
from django.urls.converters import StringConverter

from apps.dashboard.views import (
    audit,
    batches,
    bulk,
    deployments,
    home,
    keys,
    members,
    organizations,
    palette,
    project,
    queues,
    run,
    runs,
    schedules,
    styleguide,
    tasks,
    testing,
    tokens,
    variables,
)

app_name = "dashboard"


class _Name(StringConverter):
    """What customers call their own things may have slashes, and even line breaks."""

    regex = r"[\s\S]+"


register_converter(_Name, "name")

in_environment = [
    path("switcher", home.switcher, name="switcher"),
    path("environments", home.environments, name="environments"),
    path("palette", palette.palette, name="palette"),
    path("runs", runs.run_list, name="runs"),
    path("runs/cancellations", runs.cancellations, name="run_cancellations"),
    path("runs/replays", runs.replays, name="run_replays"),
    path("runs/tasks", runs.task_menu, name="run_tasks"),
    path("runs/<str:run>", run.run_page, name="run"),
    path("runs/<str:run>/trace", run.trace, name="run_trace"),
    path("runs/<str:run>/spans/<str:span>", run.span, name="run_span"),
    path("runs/<str:run>/logs", run.logs, name="run_logs"),
    path("runs/<str:run>/logs.txt", run.logs_file, name="run_logs_file"),
    path("runs/<str:run>/run.json", run.run_file, name="run_file"),
    path("runs/<str:run>/values/<str:part>", run.value_file, name="run_value"),
    path("runs/<str:run>/cancellation", run.cancellation, name="run_cancellation"),
    path("runs/<str:run>/replay", run.replay, name="run_replay"),
    path("runs/<str:run>/journal", run.journal, name="run_journal"),
    path("runs/<str:run>/fork", run.fork, name="run_fork"),
    path("tasks", tasks.task_list, name="tasks"),
    path("tasks/<name:task>", tasks.task, name="task"),
    path("test", testing.test, name="test"),
    path("test/payloads", testing.payloads, name="test_payloads"),
    path("deployments", deployments.deployment_list, name="deployments"),
    path("deployments/<str:deployment>", deployments.deployment, name="deployment"),
    path(
        "deployments/<str:deployment>/promotion",
        deployments.promotion,
        name="deployment_promotion",
    ),
    path(
        "deployments/<str:deployment>/cancellation",
        deployments.deployment_cancellation,
        name="deployment_cancellation",
    ),
    path("start", project.start, name="start"),
    path("keys", keys.key_list, name="keys"),
    path("keys/rotation", keys.rotation, name="key_rotation"),
    path("keys/<str:named_key>/revocation", keys.revocation, name="key_revocation"),
    path("variables", variables.variable_list, name="variables"),
    path("variables/import", variables.variable_import, name="variable_import"),
    path("variables/<str:name>/deletion", variables.variable_deletion, name="variable_deletion"),
    path("settings", project.settings, name="project_settings"),
    path("settings/limits", project.limits, name="project_limits"),
    path("settings/pause", project.pause, name="project_pause"),
    path("settings/deletion", project.deletion, name="project_deletion"),
    path("batches", batches.batch_list, name="batches"),
    path("batches/<str:batch>", batches.batch, name="batch"),
    path("bulk-actions", bulk.bulk_list, name="bulk_actions"),
    path("bulk-actions/<str:action>", bulk.bulk_action, name="bulk_action"),
    path("bulk-actions/<str:action>/abortion", bulk.bulk_abortion, name="bulk_abortion"),
    path("schedules", schedules.schedule_list, name="schedules"),
    path("schedules/new", schedules.new_schedule, name="new_schedule"),
    path("schedules/<str:schedule>", schedules.schedule, name="schedule"),
    path("schedules/<str:schedule>/edit", schedules.edit_schedule, name="edit_schedule"),
    path(
        "schedules/<str:schedule>/activation",
        schedules.schedule_activation,
        name="schedule_activation",
    ),
    path(
        "schedules/<str:schedule>/deletion", schedules.schedule_deletion, name="schedule_deletion"
    ),
    path("queues", queues.queue_list, name="queues"),
    path("queues/<str:queue>", queues.queue, name="queue"),
    path("queues/<str:queue>/pause", queues.queue_pause, name="queue_pause"),
    path("queues/<str:queue>/limits", queues.queue_limits, name="queue_limits"),
    path("queues/<str:queue>/key", queues.queue_key, name="queue_key"),
    path("concurrency", queues.concurrency, name="concurrency"),
    path("tokens", tokens.token_list, name="tokens"),
    path("tokens/<str:token>", tokens.token, name="token"),
    path("tokens/<str:token>/completion", tokens.token_completion, name="token_completion"),
]

in_organization = [
    path("", organizations.projects, name="projects"),
    path("/projects", organizations.project_creation, name="project_creation"),
    path("/members", members.member_list, name="members"),
    path("/members/leaving", members.leaving, name="leaving"),
    path("/members/<str:user>/role", members.role, name="member_role"),
    path("/members/<str:user>/removal", members.removal, name="member_removal"),
    path("/invites/<str:invite>/renewal", members.invite_renewal, name="invite_renewal"),
    path("/invites/<str:invite>/revocation", members.invite_revocation, name="invite_revocation"),
    path("/audit", audit.audit_log, name="audit"),
    path("/settings", organizations.settings, name="organization_settings"),
    path("/deletion", organizations.deletion, name="organization_deletion"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("welcome", organizations.welcome, name="welcome"),
    path("styleguide", styleguide.styleguide, name="styleguide"),
    path("orgs/<str:organization>", include(in_organization)),
    path(
        "orgs/<str:organization>/projects/<str:project>/env/<str:env>/",
        include(in_environment),
    ),
]
