"""`manage.py doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.doctor import Finding, examine


class Command(BaseCommand):
    help = "Check versions, connections, migrations, clock, disk, processes and invariants."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.disable()  # the libraries' complaints would repeat what the findings say
        try:
            findings = self._examine(is_told=not options["json"])
        finally:
            logging.disable(logging.NOTSET)
        problems = sum(finding.is_problem for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"problems": problems, "checks": _plain(findings)}))
        else:
            self.stdout.write(_verdict(problems))
        if problems:
            sys.exit(1)

    def _examine(self, *, is_told: bool) -> list[Finding]:
        findings = []
        for finding in examine():
            findings.append(finding)
            if is_told:
                self.stdout.write(_line(finding))
        return findings


def _verdict(problems: int) -> str:
    if not problems:
        return "All is well."
    return "1 problem." if problems == 1 else f"{problems} problems."


def _line(finding: Finding) -> str:
    mark = "!!" if finding.is_problem else "ok"
    advice = f" -> {finding.advice}" if finding.is_problem else ""
    return f"{mark}  {finding.name:<10}  {finding.found}{advice}"


def _plain(findings: list[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "name": finding.name,
            "ok": not finding.is_problem,
            "found": finding.found,
            "advice": finding.advice,
        }
        for finding in findings
    ]
