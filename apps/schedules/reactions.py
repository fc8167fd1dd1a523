"""What schedules do when deployments tell them something."""

from __future__ import annotations

from apps.deployments.facts import VersionPromoted
from apps.schedules.operations.declare import declare


def adopt_declarations(fact: VersionPromoted) -> None:
    declare(fact.environment_id, now=fact.at)
