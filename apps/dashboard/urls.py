"""Every page's address; what belongs to an environment begins with its organization's slug."""

from django.urls import include, path

from apps.dashboard.views import deployments, home, palette, run, runs, styleguide, tasks, testing

app_name = "dashboard"

in_environment = [
    path("switcher", home.switcher, name="switcher"),
    path("environments", home.environments, name="environments"),
    path("palette", palette.palette, name="palette"),
    path("runs", runs.run_list, name="runs"),
    path("runs/cancellations", runs.cancellations, name="run_cancellations"),
    path("runs/replays", runs.replays, name="run_replays"),
    path("runs/tasks", runs.task_menu, name="run_tasks"),
    path("runs/export.<str:form>", runs.export, name="run_export"),
    path("runs/<str:run>", run.run_page, name="run"),
    path("runs/<str:run>/trace", run.trace, name="run_trace"),
    path("runs/<str:run>/spans/<str:span>", run.span, name="run_span"),
    path("runs/<str:run>/logs", run.logs, name="run_logs"),
    path("runs/<str:run>/logs.txt", run.logs_file, name="run_logs_file"),
    path("runs/<str:run>/run.json", run.run_file, name="run_file"),
    path("runs/<str:run>/values/<str:part>", run.value_file, name="run_value"),
    path("runs/<str:run>/cancellation", run.cancellation, name="run_cancellation"),
    path("runs/<str:run>/replay", run.replay, name="run_replay"),
    path("tasks", tasks.task_list, name="tasks"),
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
]

urlpatterns = [
    path("", home.home, name="home"),
    path("welcome", home.welcome, name="welcome"),
    path("styleguide", styleguide.styleguide, name="styleguide"),
    path(
        "orgs/<str:organization>/projects/<str:project>/env/<str:env>/",
        include(in_environment),
    ),
]
