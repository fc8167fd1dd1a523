"""The example finds what was tampered with, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

from holdfast.testing import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "package_audit"


@pytest.fixture
def audit(monkeypatch):
    """The example's tasks, imported as its own project would."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from audit import tasks

    yield tasks
    for name in [name for name in sys.modules if name.partition(".")[0] == "audit"]:
        del sys.modules[name]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with two installed distributions."""
    install(
        tmp_path, "alpha", "1.0", {"alpha/__init__.py": b"A = 1\n", "alpha/data.bin": b"x" * 99}
    )
    install(
        tmp_path, "beta", "2.0", {"beta/__init__.py": b"B = 2\n", "beta/more.py": b"C = 3\n" * 9}
    )
    return tmp_path


def install(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
    lines = []
    for path, content in (files | {f"{info}/METADATA": metadata.encode()}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}\n")
    (folder / info / "RECORD").write_text("".join([*lines, f"{info}/RECORD,,\n"]))


def test_what_is_as_published_gives_no_finding(audit, packages):
    with Bench() as bench:
        run = bench.run(audit.audit_environment, {"paths": [str(packages)]})
    assert run.status == "COMPLETED"
    assert (run.output["distributions"], run.output["files"]) == (2, 6)
    assert run.output["findings"] == []
    assert run.output["licences"] == {"MIT": 2}
    assert run.output["bytes"] == sum(
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file() and path.name != "RECORD"
    )
    assert (run.metadata["verified"], run.metadata["total"]) == (2, 2)


def test_a_tampered_copy_is_a_finding_a_retry_and_a_failed_child(audit, packages):
    with Bench() as bench:
        run = bench.run(audit.audit_environment, {"paths": [str(packages)], "tamper": True})
        children = [child for child in bench.runs if child.task == "verify-distribution"]
    (finding,) = run.output["findings"]
    assert finding["distribution"] == "beta-2.0 (tampered)"
    assert finding["error"] == "beta 2.0: beta/more.py"
    assert run.metadata["findings"] == [finding]
    (failed,) = [child for child in children if child.status == "FAILED"]
    assert [attempt.ending for attempt in failed.attempts] == ["failed", "failed"]
    assert len(children) == 3


def test_a_file_that_is_gone_is_a_finding(audit, packages):
    (packages / "alpha" / "data.bin").unlink()
    with Bench() as bench:
        run = bench.run(audit.audit_environment, {"paths": [str(packages)]})
    (finding,) = run.output["findings"]
    assert finding["error"] == "alpha 1.0: alpha/data.bin"
