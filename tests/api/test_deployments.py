import pytest

from apps.deployments import policy
from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

GZIP = {"content_type": "application/gzip"}


@pytest.fixture
def developer(acme):
    """Acme's development environment of alice, by its key."""
    return Api(acme.keys["dev"])


def announced(api):
    body = {"contentHash": "abc", "pythonVersion": "3.11", "git": {"commitSha": "f00"}}
    return api.post("/api/v1/deployments", body).ok()


def test_a_development_version_is_registered_and_current(developer, acme):
    path = f"/api/v1/projects/{acme.project.ref}/background-workers"
    manifest = {"contentHash": "abc", "packageVersion": "0.1.0", "tasks": [scenes.TASK]}

    worker = developer.post(path, {"localOnly": True, "metadata": manifest}).ok()

    assert worker["id"].startswith("worker_")
    assert worker["contentHash"] == "abc"
    run = scenes.run(developer)
    assert developer.get(f"/api/v3/runs/{run}").ok()["status"] == "QUEUED"
    assert developer.post(path, {"metadata": manifest}).ok() == worker


def test_a_manifest_with_two_tasks_of_one_id_is_refused_with_both(developer, acme):
    path = f"/api/v1/projects/{acme.project.ref}/background-workers"

    answer = developer.post(path, {"metadata": {"tasks": [scenes.TASK, scenes.TASK]}})

    assert answer.status == 422
    assert answer.error == (
        "The manifest is invalid: task 'resize' in tasks/images.py id: "
        "is also the id of a task in tasks/images.py"
    )


def test_a_key_registers_versions_of_its_own_project_only(charlie, acme):
    path = f"/api/v1/projects/{acme.project.ref}/background-workers"

    assert charlie.post(path, {"metadata": {"tasks": []}}).status == 404


def test_a_deployment_is_announced_uploaded_and_finalized(api):
    handle = announced(api)
    upload = handle["uploadUrl"].removeprefix("http://testserver")

    assert api.put(upload, b"archive", **GZIP).ok() == {"id": handle["id"]}
    assert api.post(f"/api/v1/deployments/{handle['id']}/finalize", {"promote": False}).ok()

    shown = api.get(f"/api/v1/deployments/{handle['id']}").ok()
    assert (shown["status"], shown["shortCode"]) == ("BUILDING", handle["shortCode"])
    assert (shown["runtime"], shown["runtimeVersion"]) == ("python", "3.11")
    assert (shown["version"], shown["tasks"], shown["log"]) == (None, [], "")
    assert shown["git"] == {"commitSha": "f00"}


def test_an_archive_comes_before_its_end(api):
    handle = announced(api)

    answer = api.post(f"/api/v1/deployments/{handle['id']}/finalize")

    assert (answer.status, answer.error) == (
        422,
        "Upload the archive before the deployment is finalized",
    )


def test_an_archive_over_the_limit_is_413(api, monkeypatch):
    monkeypatch.setattr(policy, "ARCHIVE_BYTES", 1024 * 1024)
    upload = announced(api)["uploadUrl"].removeprefix("http://testserver")

    assert api.put(upload, b"x" * (1024 * 1024 + 1), **GZIP).status == 413


def test_a_deployment_can_be_given_up(api):
    handle = announced(api)

    assert api.post(f"/api/v1/deployments/{handle['id']}/cancel").ok() == {"id": handle["id"]}
    assert api.get(f"/api/v1/deployments/{handle['id']}").ok()["status"] == "CANCELED"


def test_a_development_environment_is_not_deployed_to(developer):
    answer = developer.post("/api/v1/deployments", {"contentHash": "abc"})

    assert answer.status == 422
    assert "use `holdfast dev`" in answer.error


def test_deployments_are_listed_newest_first_in_pages(api):
    made = [announced(api)["id"] for _ in range(3)][::-1]

    first = api.get("/api/v1/deployments", {"page[size]": 2}).ok()
    second = api.get(
        "/api/v1/deployments", {"page[size]": 2, "page[after]": first["pagination"]["next"]}
    ).ok()

    assert [item["id"] for item in first["data"] + second["data"]] == made
    assert second["pagination"] == {}
    assert "log" not in first["data"][0]


def test_a_version_is_promoted_by_its_number(api, acme):
    first = scenes.version(acme.scope)
    second = scenes.version(acme.scope, {**scenes.TASK, "id": "other"})

    promoted = api.post(f"/api/v1/deployments/{first}/promote").ok()

    assert promoted["version"] == first != second
    assert api.get(f"/api/v3/runs/{scenes.run(api)}").ok()["status"] == "QUEUED"


def test_nothing_is_current_before_something_was_deployed(api):
    answer = api.get("/api/v1/deployments/current")

    assert (answer.status, answer.error) == (404, "Nothing has been deployed to this environment")


def test_a_public_token_reads_deployments(acme):
    reader = Api(token_for(acme, scopes=["read:deployments"]))

    assert reader.get("/api/v1/deployments").ok()["data"] == []
    assert reader.post("/api/v1/deployments", {"contentHash": "abc"}).status == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/deployments/{id}", None),
        ("PUT", "/api/v1/deployments/{id}/archive", b"x"),
        ("POST", "/api/v1/deployments/{id}/finalize", None),
        ("POST", "/api/v1/deployments/{id}/cancel", None),
        ("POST", "/api/v1/deployments/{version}/promote", None),
    ],
)
def test_charlie_finds_no_deployment_of_acme(api, charlie, acme, method, path, body):
    version = scenes.version(acme.scope)
    target = path.format(id=announced(api)["id"], version=f"{version}0")

    assert charlie.send(method, target, body=body).status == 404
    assert charlie.get("/api/v1/deployments").ok()["data"] == []
