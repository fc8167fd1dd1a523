"""Audit an environment: a parent that fans out, and a child per distribution."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from audit.distributions import Verdict, installed, tampered_copy, verify
from holdfast import ChildRunFailed, Retry, logger, metadata, task

_LARGEST = 5


class HashMismatch(Exception):
    """Files differ from what was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to audit: folders with installed packages, by default those of this interpreter."""

    paths: list[str] = field(default_factory=list)
    tamper: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A distribution that is not what was published."""

    distribution: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an audit found; sizes in bytes."""

    distributions: int
    files: int
    bytes: int
    findings: list[Finding]
    largest: list[tuple[str, int]]
    licences: dict[str, int]


@task(
    id="verify-distribution",
    queue="verify",
    # a mismatch may be an installation that is under way: look again before saying so
    retry=Retry(attempts=2, min_delay=0.2, max_delay=0.5, retry_on=(HashMismatch, OSError)),
    max_duration=300,
)
def verify_distribution(folder: str) -> Verdict:
    """Compare the files of one distribution with its RECORD."""
    verdict = verify(Path(folder))
    if verdict.mismatches:
        raise HashMismatch(f"{verdict.name} {verdict.version}: {', '.join(verdict.mismatches)}")
    logger.info(f"{verdict.name} {verdict.version} is as published")
    return verdict


@task(id="audit-environment", retry=Retry(attempts=3, min_delay=0.5, max_delay=5))
async def audit_environment(request: Request) -> Report:
    """Verify every distribution, each in a run of its own, and report."""
    paths = request.paths or [path for path in sys.path if path.endswith("-packages")]
    with tempfile.TemporaryDirectory(prefix="package-audit-") as scratch:
        wanted = [(name, str(folder)) for name, folder in installed(paths)]
        if request.tamper:
            copy = tampered_copy(paths, Path(scratch))
            wanted.append((f"{copy.name.removesuffix('.dist-info')} (tampered)", str(copy)))
        metadata.update({"total": len(wanted), "verified": 0, "findings": []})
        outcomes = await asyncio.gather(*(_outcome(name, folder) for name, folder in wanted))
    return _report(outcomes)


async def _outcome(name: str, folder: str) -> Verdict | Finding:
    """One child's verdict; its failure is a finding, not ours."""
    try:
        # the key finds the same child again when this run itself is tried again
        return await verify_distribution.trigger_and_wait(folder, idempotency_key=folder)
    except ChildRunFailed as failure:
        finding = Finding(distribution=name, error=str(failure.error.get("message", failure)))
        metadata.append("findings", dataclasses.asdict(finding))
        return finding
    finally:
        metadata.increment("verified")


def _report(outcomes: list[Verdict | Finding]) -> Report:
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    largest = sorted(verdicts, key=lambda verdict: verdict.bytes, reverse=True)[:_LARGEST]
    return Report(
        distributions=len(outcomes),
        files=sum(verdict.files for verdict in verdicts),
        bytes=sum(verdict.bytes for verdict in verdicts),
        findings=[outcome for outcome in outcomes if isinstance(outcome, Finding)],
        largest=[(verdict.name, verdict.bytes) for verdict in largest],
        licences=dict(Counter(verdict.licence for verdict in verdicts).most_common()),
    )
