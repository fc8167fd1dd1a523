"""The OpenAPI document: what it says is what was agreed, and what the server does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tests import factories
from tests.api import scenes
from tests.api.client import Api

SNAPSHOT = Path(__file__).with_name("openapi.yaml")
SECONDS = 300

# Not promised: the contract takes null for absent and ignores what it does not know, and answers
# 401 before it looks at a method.
UNPROMISED = "negative_data_rejection,positive_data_acceptance,unsupported_method"
FOR_PEOPLE = {
    "list_project_runs", "retrieve_environment_key", "whoami", "regenerate_api_key",
    "pause_environment", "resume_environment", "list_environments", "change_environment_limits",
    "list_api_keys", "create_api_key", "revoke_api_key", "list_organizations",
    "create_organization", "retrieve_organization", "rename_organization", "leave_organization",
    "list_projects_of_organization", "create_project", "list_projects", "retrieve_project",
    "rename_project", "list_members", "change_role", "remove_member", "list_invites",
    "create_invite", "resend_invite", "revoke_invite", "accept_invite", "list_audit_entries",
    "rename_person", "list_access_tokens", "create_access_token", "revoke_access_token",
    "list_sessions", "end_all_sessions", "end_session",
}  # fmt: skip
NOT_JSON = {"add_batch_items", "upload_archive"}
# Others would find nothing any more.
FINAL = {"delete_organization", "delete_project"}


@pytest.fixture(scope="module")
def document():
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_the_one_that_was_agreed(document):
    rendered = OpenApiYamlRenderer().render(document).decode()

    if not SNAPSHOT.exists() or SNAPSHOT.read_text() != rendered:
        changed = SNAPSHOT.with_suffix(".changed.yaml")
        changed.write_text(rendered)
        pytest.fail(
            f"The API has changed: if that is meant, move {changed.name} to {SNAPSHOT.name}"
        )


def test_the_document_is_valid(document):
    validate_schema(document)


def test_every_operation_has_a_name_a_summary_and_its_refusals(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["operationId"], where
            assert operation.get("summary"), where
            statuses = set(operation["responses"])
            assert statuses & {"200", "202"}, where
            assert statuses & {"400", "401"}, where


def test_anybody_may_read_the_document(db):
    answer = Api(None).get("/api/schema")

    assert answer.status == 200
    assert yaml.safe_load(answer.content)["info"]["title"] == "Holdfast API"


@pytest.fixture
def plan(web, tmp_path):
    """Where schemathesis finds existing things, and which operations are for people."""
    tenant = factories.acme()
    api = Api(tenant.secret)
    number = scenes.version(tenant.scope)
    batch = api.post("/api/v3/batches", {"runCount": 3}).ok()["id"]
    path = f"/api/v1/projects/{tenant.project.ref}/envvars/prod"
    api.post(path, {"name": "COLOR", "value": "red"}).ok()
    deployment = api.post("/api/v1/deployments", {"contentHash": "abc"}).ok()["id"]
    known = {
        "run": scenes.run(api, delay="1h", idempotencyKey="6ab9"),
        "batch": batch,
        "ref": tenant.project.ref,
        "env": "prod",
        "name": "COLOR",
        "key": "6ab9",
        "task": "resize",
        "deployment": deployment,
        "version": number,
        "organization": tenant.organization.slug,
        "user": factories.bob().public_id,
    }
    token = factories.personal_token(tenant.owner)
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        "\n".join(
            [
                "[parameters]",
                *(f'"path.{name}" = "{value}"' for name, value in known.items()),
                "[generation]",
                "max-examples = 8",
                "[[operations]]",
                f"include-operation-id = {sorted(FOR_PEOPLE)}",
                "generation.max-examples = 3",  # they are many, and take little
                f'headers = {{ Authorization = "Bearer {token}" }}',
            ]
        )
    )
    return [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{web.url}/api/schema", "--header", f"Authorization: Bearer {tenant.secret}"),
        *("--phases", "examples,fuzzing", "--seed", "1"),
        *("--exclude-checks", UNPROMISED, "--workers", "2", "--no-color", "--warnings", "off"),
        *(part for name in sorted(NOT_JSON | FINAL) for part in ("--exclude-operation-id", name)),
    ]


def test_a_live_server_keeps_to_the_document_whatever_it_is_sent(plan, tmp_path):
    done = subprocess.run(
        plan, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
