import pytest

from apps.orgs.roles import Role
from tests import factories
from tests.api.client import Api


@pytest.fixture
def path(acme):
    return f"/api/v1/projects/{acme.project.ref}/envvars/prod"


def test_a_variable_is_added_read_changed_and_removed(api, path):
    assert api.post(path, {"name": "COLOR", "value": "red"}).ok() == {"success": True}
    assert api.get(path).ok() == [{"name": "COLOR", "value": "red", "isSecret": False}]
    assert api.put(f"{path}/COLOR", {"value": " blue "}).ok() == {"success": True}
    assert api.get(f"{path}/COLOR").ok() == {"name": "COLOR", "value": " blue ", "isSecret": False}
    assert api.delete(f"{path}/COLOR").ok() == {"success": True}
    assert api.get(path).ok() == []


def test_adding_one_that_exists_replaces_it(api, path):
    api.post(path, {"name": "COLOR", "value": "red"}).ok()
    api.post(path, {"name": "COLOR", "value": "blue"}).ok()

    assert api.get(f"{path}/COLOR").ok()["value"] == "blue"


def test_the_value_of_a_secret_is_not_shown(api, path):
    api.post(path, {"name": "TOKEN", "value": "hush", "isSecret": True}).ok()

    assert api.get(path).ok() == [{"name": "TOKEN", "value": "", "isSecret": True}]
    assert "hush" not in api.get(f"{path}/TOKEN").content.decode()


def test_processes_get_everything_in_clear(api, acme, path):
    api.post(path, {"name": "TOKEN", "value": "hush", "isSecret": True}).ok()

    assert api.get(f"/api/v1/projects/{acme.project.ref}/envvars").ok() == {
        "variables": {"TOKEN": "hush"}
    }


def test_many_are_imported_and_existing_ones_kept_unless_overridden(api, path):
    api.post(path, {"name": "A", "value": "old"}).ok()

    api.post(f"{path}/import", {"variables": {"A": "new", "B": "2"}}).ok()
    kept = api.get(f"{path}/A").ok()["value"]
    api.post(f"{path}/import", {"variables": {"A": "new"}, "override": True}).ok()

    assert (kept, api.get(f"{path}/A").ok()["value"]) == ("old", "new")
    assert api.get(f"{path}/B").ok()["value"] == "2"


def test_a_person_reaches_every_environment(alice, acme):
    for slug in ("dev", "staging", "prod", "preview"):
        path = f"/api/v1/projects/{acme.project.ref}/envvars/{slug}"
        alice.post(path, {"name": "WHERE", "value": slug}).ok()
        assert alice.get(f"{path}/WHERE").ok()["value"] == slug


def test_a_viewer_reads_no_variables(acme):
    viewer = factories.person("vera")
    factories.member(acme.organization, viewer, Role.VIEWER)
    vera = Api(factories.personal_token(viewer))

    answer = vera.get(f"/api/v1/projects/{acme.project.ref}/envvars/prod")

    assert answer.status == 403
    assert answer.body["details"] == {"permission": "variables:read"}


def test_a_name_that_cannot_be_kept_is_400_with_variable_errors(api, path):
    answer = api.post(f"{path}/import", {"variables": {"1BAD": "x", "OTEL_X": "y", "OK": "z"}})

    assert answer.status == 400
    assert [problem["key"] for problem in answer.body["variableErrors"]] == ["1BAD", "OTEL_X"]
    assert answer.error == (
        "1BAD must be letters, digits and _, and not start with a digit; "
        "OTEL_X is reserved: Holdfast sets it for every worker"
    )
    assert api.get(path).ok() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"value": "x"}, "name: This field is required."),
        ({"name": "A"}, "value: This field is required."),
        ({"name": "A", "value": {"a": 1}}, "value: Not a valid string."),
        ({"name": "A", "value": "a\0b"}, "value: Null characters are not allowed."),
    ],
)
def test_a_malformed_variable_is_400(api, path, body, message):
    answer = api.post(path, body)

    assert (answer.status, answer.error) == (400, message)


def test_an_unknown_variable_is_404(api, path):
    for answer in (
        api.get(f"{path}/NONE"),
        api.put(f"{path}/NONE", {"value": "x"}),
        api.delete(f"{path}/NONE"),
    ):
        assert (answer.status, answer.error) == (404, "There is no variable NONE")


@pytest.mark.parametrize("slug", ["staging", "dev", "nonsense"])
def test_a_key_is_for_its_own_environment(api, acme, slug):
    answer = api.get(f"/api/v1/projects/{acme.project.ref}/envvars/{slug}")

    assert (answer.status, answer.error) == (404, "This key is for another project or environment")


def test_charlie_sees_no_variable_of_acme(api, charlie, charlie_in_person, acme, path):
    api.post(path, {"name": "COLOR", "value": "red"}).ok()

    for stranger in (charlie, charlie_in_person):
        assert stranger.get(path).status == 404
        assert stranger.get(f"{path}/COLOR").status == 404
        assert stranger.post(path, {"name": "COLOR", "value": "x"}).status == 404
        assert stranger.post(f"{path}/import", {"variables": {"A": "x"}}).status == 404
        assert stranger.put(f"{path}/COLOR", {"value": "x"}).status == 404
        assert stranger.delete(f"{path}/COLOR").status == 404
    assert charlie.get(f"/api/v1/projects/{acme.project.ref}/envvars").status == 404
    assert api.get(path).ok() == [{"name": "COLOR", "value": "red", "isSecret": False}]
