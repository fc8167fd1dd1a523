"""The shipped command line in processes of its own: somebody is invited, joins, and rises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.core.crypto import unseal
from apps.orgs.models import Invite
from tests import factories

Terminal = Callable[..., Any]


@pytest.fixture
def terminal_of(live_process, transactional_db, tmp_path: Path) -> Callable[..., Terminal]:
    """Makes the terminal of somebody; a command must end with `code` and answers with JSON."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}

    def make(user: Any) -> Terminal:
        variables = inherited | {
            "XDG_CONFIG_HOME": str(tmp_path),
            "HOLDFAST_API_URL": live_process.url,
            "HOLDFAST_ACCESS_TOKEN": factories.personal_token(user),
        }

        def run(*arguments: str, code: int = 0) -> Any:
            done = subprocess.run(
                [sys.executable, "-m", "holdfast.cli", *arguments, "--json"],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == code, done.stderr
            return json.loads(done.stdout or done.stderr)

        return run

    return make


def test_somebody_is_invited_joins_and_rises_and_the_log_says_so(terminal_of):
    tenant = factories.acme()
    alice, erin = terminal_of(factories.alice()), terminal_of(factories.person("erin"))
    erin("members", "list", "--org", "acme", code=4)

    alice("invites", "create", "erin@example.com", "--role", "viewer")
    invite = Invite.objects.get(email="erin@example.com")
    link = f"https://holdfast.test/invites/{unseal(invite.sealed, context=invite.seal_context)}"
    assert erin("invites", "accept", link)["role"] == "viewer"
    erin("invites", "create", "mallory@example.com", code=3)
    where = ("--project", tenant.project.ref, "--env", "prod")
    assert erin("queues", "list", *where) == []
    assert "runs:trigger" in erin("trigger", "hello", *where, code=3)["error"]

    assert alice("members", "role", "erin@example.com", "admin")["role"] == "admin"
    log = erin("audit", "list", "--by", "alice@example.com", "--limit", "2")
    assert [(entry["action"], entry["detail"]) for entry in log] == [
        ("member.role_changed", {"before": "viewer", "after": "admin"}),
        ("invite.created", {"email": "erin@example.com", "role": "viewer"}),
    ]
