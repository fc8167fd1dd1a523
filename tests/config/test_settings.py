"""The settings in processes of their own: what they refuse, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def manage(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables alone."""
    bare = {"PATH": os.environ["PATH"], "HOLDFAST_HOME": str(home)}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**bare, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_default_secret_is_refused_unless_debugging(tmp_path):
    refused = manage(tmp_path, "diffsettings")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "Holdfast cannot start with this configuration:",
        "  - SECRET_KEY is the development default: set a random one, or DEBUG=1 to develop",
    ]
    assert manage(tmp_path, "diffsettings", DEBUG="1").returncode == 0
    assert manage(tmp_path, "diffsettings", SECRET_KEY="x" * 50).returncode == 0


def test_everything_malformed_is_reported_at_once(tmp_path):
    refused = manage(
        tmp_path,
        "diffsettings",
        DATABASE_URL="mysql://x",
        REDIS_URL="nonsense",
        REQUEST_THREADS="none",
        HOLDFAST_LEASE_SECONDS="soon",
        DEBUG="perhaps",
    )
    assert refused.returncode == 1
    named = {line.split("=")[0].split()[1] for line in refused.stderr.splitlines()[1:]}
    assert named == {
        *("DATABASE_URL", "REDIS_URL", "REQUEST_THREADS", "HOLDFAST_LEASE_SECONDS", "DEBUG"),
        "SECRET_KEY",
    }
    assert "Traceback" not in refused.stderr


def test_a_home_brings_its_addresses_and_its_secret(tmp_path):
    (tmp_path / "stores.env").write_text("REDIS_URL=unix:///somewhere/redis.sock\n")
    (tmp_path / "secret.env").write_text(f"SECRET_KEY={'x' * 50}\n")
    shown = manage(tmp_path, "diffsettings")
    assert "REDIS_URL = 'unix:///somewhere/redis.sock'" in shown.stdout
    given = manage(tmp_path, "diffsettings", REDIS_URL="redis://elsewhere/1")
    assert "REDIS_URL = 'redis://elsewhere/1'" in given.stdout
