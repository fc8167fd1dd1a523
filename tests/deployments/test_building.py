"""Building: an archive becomes a version, or a failure that its developer can read."""

import threading
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from apps.core import facts
from apps.deployments import policy, queries
from apps.deployments.facts import DeploymentEnded, DeploymentFinalized
from apps.deployments.models import Deployment, Version
from apps.deployments.operations import building
from apps.deployments.operations.shipping import cancel_deployment, create_deployment
from apps.deployments.providing import bundle_of, workspace
from apps.environments.operations.variables import set_variable
from apps.providers.environments import EnvironmentBuilder
from tests.deployments.projects import HELLO, deployed, finalized, project
from tests.factories import NOW, acme

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard(monkeypatch):
    told = []
    kinds = (DeploymentFinalized, DeploymentEnded)
    monkeypatch.setattr(facts, "_listeners", dict.fromkeys(kinds, (told.append,)))
    return told


def build(deployment, *, now=NOW):
    building.index_deployment(deployment_id=deployment.id, clock=lambda: now)
    deployment.refresh_from_db()
    return deployment


def test_an_archive_becomes_a_promoted_version_with_its_tasks():
    scope = acme().scope
    deployment = deployed(scope, project(), content_hash="the client's")
    assert (deployment.status, deployment.error) == ("DEPLOYED", None)
    version = queries.current_version(scope)
    assert deployment.version == version
    assert version.archive == deployment.archive
    assert version.content_hash == "the client's"
    (hello,) = queries.tasks_of(scope, version.id)
    assert hello.slug == "hello"
    assert hello.file_path == "tasks/hello.py"
    assert hello.payload_schema["type"] == "string"
    assert queries.get_current_deployment(scope) == deployment


def test_the_log_tells_the_steps():
    log = deployed(acme().scope, project()).log
    assert log.startswith("Unpacking the archive\n")
    assert "Importing the tasks\n" in log
    assert log.endswith("Deployed version 20261124.1 with 1 task\n")


def test_without_promotion_the_version_waits():
    deployment = deployed(acme().scope, project(), promote=False)
    assert deployment.version.number == "20261124.1"
    assert queries.current_version(acme().scope) is None


def test_an_import_error_fails_the_deployment_with_its_traceback():
    broken = "import json\n\ndef boom():\n    return json.no_such_thing\n\nboom()\n"
    deployment = deployed(acme().scope, project(broken=broken))
    assert deployment.status == "FAILED"
    assert deployment.error["name"] == "BuildFailed"
    assert "AttributeError" in deployment.error["message"]
    assert "tasks/broken.py" in deployment.error["traceback"]
    assert "return json.no_such_thing" in deployment.error["traceback"]
    assert "no_such_thing" in deployment.log
    assert not Version.objects.exists()


def test_a_module_that_exits_or_prints_is_no_riddle():
    loud = "print('{\"tasks\": []}')\nimport sys; sys.exit('the config is missing')"
    deployment = deployed(acme().scope, project(loud=loud))
    assert deployment.status == "FAILED"
    assert "sys.exit" in deployment.error["message"]


def test_a_module_that_never_returns_is_stopped(monkeypatch):
    monkeypatch.setattr(policy, "INDEX_SECONDS", 1)
    deployment = deployed(acme().scope, project(slow="while True: pass"))
    assert deployment.status == "FAILED"
    assert "longer than 1 s" in deployment.error["message"]


def test_two_tasks_of_one_id_fail_with_both_places():
    deployment = deployed(acme().scope, project(again=HELLO))
    assert deployment.status == "FAILED"
    assert "hello" in deployment.error["message"]


def test_an_archive_that_reaches_out_fails_and_is_deleted(
    tmp_path, django_capture_on_commit_callbacks
):
    deployment = finalized(acme().scope, {**project(), "../evil.py": "x"})
    with django_capture_on_commit_callbacks(execute=True):
        build(deployment)
    assert deployment.status == "FAILED"
    assert deployment.error["message"] == ("The archive is refused: '../evil.py' leads out of it")
    assert default_storage.listdir(f"archives/{deployment.environment_id}") == ([], [])


def test_a_requirement_that_does_not_exist_fails_with_the_tools_words():
    files = {**project(), "requirements.txt": "./no-such-folder\n"}
    deployment = deployed(acme().scope, files)
    assert deployment.status == "FAILED"
    assert "installing the requirements failed" in deployment.error["message"]
    assert "no-such-folder" in deployment.error["traceback"]


def test_an_archive_that_is_gone_from_the_store_fails_in_words():
    deployment = finalized(acme().scope, project(unique="LOST = 1"))
    default_storage.delete(deployment.archive)
    assert build(deployment).status == "FAILED"
    assert deployment.error["message"]


def test_the_environments_variables_are_there_while_importing():
    scope = acme().scope
    set_variable(scope, name="GREETING", value="salut", is_secret=True, now=NOW)
    module = "import os\nassert os.environ['GREETING'] == 'salut', 'no greeting'"
    assert deployed(scope, project(reads=module)).error is None


def test_the_servers_own_secrets_are_not(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "the server's")
    monkeypatch.setenv("DATABASE_URL", "postgresql:///holdfast")
    module = "import os\nassert not {'SECRET_KEY', 'DATABASE_URL'} & set(os.environ)"
    assert deployed(acme().scope, project(reads=module)).error is None


def test_equal_requirements_share_an_environment_whatever_the_code(monkeypatch):
    made = []
    make = EnvironmentBuilder._make
    monkeypatch.setattr(
        EnvironmentBuilder,
        "_make",
        lambda self, path, *a, **k: made.append(make(self, path, *a, **k)),
    )
    first = deployed(acme().scope, project(one="A = 1"))
    second = deployed(acme().scope, project(two="B = 2"))
    assert first.version.lock_hash == second.version.lock_hash
    assert first.version.archive_sha256 != second.version.archive_sha256
    assert len(made) <= 1  # none when an earlier test made it
    assert "is there already" in second.log


def test_the_requirements_of_a_project_are_installed():
    files = {
        **project(uses="import greeter\nassert greeter.WORD == 'salut'"),
        "requirements.txt": "./vendored\n",
        "vendored/pyproject.toml": (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "greeter"\nversion = "1"\n'
        ),
        "vendored/backend.py": BACKEND,
    }
    deployment = deployed(acme().scope, files)
    assert (deployment.error, deployment.status) == (None, "DEPLOYED")
    assert "Installing requirements.txt" in deployment.log


# The smallest build backend there can be, so that the test needs no package index.
BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "greeter-1-py3-none-any.whl"
    info = "greeter-1.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("greeter.py", "WORD = 'salut'")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: greeter\\nVersion: 1\\n")
        tags = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\n" + tags)
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def test_building_again_what_is_built_changes_nothing():
    deployment = deployed(acme().scope, project())
    build(deployment)
    assert Version.objects.count() == 1


def test_a_build_that_was_canceled_meanwhile_makes_no_version(monkeypatch):
    scope = acme().scope
    deployment = finalized(scope, project())
    read = building.read_manifest

    def cancel_first(*args, **kwargs):
        cancel_deployment(scope, deployment_id=deployment.id, now=NOW)
        return read(*args, **kwargs)

    monkeypatch.setattr(building, "read_manifest", cancel_first)
    assert build(deployment).status == "CANCELED"
    assert not Version.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_jobs_for_one_deployment_make_one_version():
    deployment, barrier = finalized(acme().scope, project()), threading.Barrier(2)

    def run():
        barrier.wait()
        building.index_deployment(deployment_id=deployment.id, clock=lambda: NOW)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Version.objects.count() == 1


def test_a_build_whose_job_was_lost_is_asked_for_again(heard, django_capture_on_commit_callbacks):
    deployment = finalized(acme().scope, project())
    with django_capture_on_commit_callbacks(execute=True):
        building.sweep_deployments(now=NOW + timedelta(seconds=5))
    assert heard == []
    with django_capture_on_commit_callbacks(execute=True):
        building.sweep_deployments(now=NOW + timedelta(minutes=1))
    assert [fact.deployment_id for fact in heard] == [deployment.id]


@pytest.mark.django_db(transaction=True)
def test_a_build_that_somebody_works_on_is_not_asked_for_again(heard):
    deployment = finalized(acme().scope, project())
    heard.clear()
    swept, started = threading.Event(), threading.Event()

    def work():
        with building.try_session_lock(f"build:{deployment.id}") as is_mine:
            assert is_mine
            started.set()
            swept.wait()
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    started.wait()
    building.sweep_deployments(now=NOW + timedelta(minutes=1))
    swept.set()
    worker.join()
    assert heard == []


def test_a_build_that_takes_too_long_times_out(heard, django_capture_on_commit_callbacks):
    deployment = finalized(acme().scope, project())
    with django_capture_on_commit_callbacks(execute=True):
        building.sweep_deployments(now=NOW + policy.BUILD_LIMIT + timedelta(seconds=1))
    deployment.refresh_from_db()
    assert deployment.status == "TIMED_OUT"
    assert "30 minutes" in deployment.error["message"]
    assert [fact.status for fact in heard if isinstance(fact, DeploymentEnded)] == ["TIMED_OUT"]


def test_a_deployment_that_is_never_uploaded_times_out():
    create_deployment(acme().scope, now=NOW)
    building.sweep_deployments(now=NOW + timedelta(hours=25))
    assert Deployment.objects.get().status == "TIMED_OUT"


def test_workers_find_what_indexing_unpacked():
    version = deployed(acme().scope, project()).version
    bundle = bundle_of(archive="not needed", sha256=version.archive_sha256, python_version="")
    assert (workspace().project(bundle) / "tasks/hello.py").read_text() == HELLO
    assert workspace().environment(bundle).is_cached
