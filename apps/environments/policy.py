"""Rules of environments that need neither database nor clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from apps.core.errors import Invalid
from apps.environments.errors import VariablesInvalid

KEY_LENGTH = 24
KEY_GRACE = timedelta(hours=24)
KEY_NAME_LENGTH = 100
KEYS_PER_ENVIRONMENT = 50
CONCURRENCY_AT_MOST = 1_000_000
VARIABLE_NAME_LENGTH = 255
VARIABLE_VALUE_BYTES = 64 * 1024
VARIABLES_PER_ENVIRONMENT = 1_000
BRANCH_LENGTH = 200
BRANCHES_PER_ENVIRONMENT = 100

# What Holdfast itself sets for a worker, in our words and in those of the public clients.
_RESERVED_PREFIXES = ("HOLDFAST_", "OTEL_")
_RESERVED = frozenset(
    {
        "TRIGGER_ACCESS_TOKEN",
        "TRIGGER_API_URL",
        "TRIGGER_OTEL_EXPORTER_OTLP_ENDPOINT",
        "TRIGGER_RUN_TOKEN",
        "TRIGGER_SECRET_KEY",
        "TRIGGER_STREAM_URL",
    }
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+#-]*")


def check_concurrency(limit: int) -> None:
    """Refuse what cannot be a number of runs at once; raises Invalid."""
    if not 0 <= limit <= CONCURRENCY_AT_MOST:
        reason = f"must be from 0 to {CONCURRENCY_AT_MOST:,}"
        raise Invalid(f"The limit {reason}", detail={"concurrency_limit": [reason]})


def check_variables(variables: Mapping[str, str]) -> None:
    """Refuse names and values that cannot be kept, all at once; raises VariablesInvalid."""
    reasons = {name: found for name, value in variables.items() if (found := _wrong(name, value))}
    if reasons:
        sentence = "; ".join(f"{name or 'a variable'} {why}" for name, (why, *_) in reasons.items())
        raise VariablesInvalid(sentence[:2_000], detail=reasons)


def is_branch(branch: str) -> bool:
    """Whether a branch may have this name at all."""
    odd = ".." in branch or branch.endswith(("/", ".", ".lock"))
    return bool(_BRANCH.fullmatch(branch)) and len(branch) <= BRANCH_LENGTH and not odd


def is_variable(name: str) -> bool:
    """Whether a variable may have this name at all."""
    return bool(_NAME.fullmatch(name)) and len(name) <= VARIABLE_NAME_LENGTH


def clean_branch(branch: str) -> str:
    """A branch's name as it is kept: as git writes it, without refs/heads/; raises Invalid."""
    branch = branch.strip().removeprefix("refs/heads/")
    if not is_branch(branch):
        raise Invalid(
            f"A branch is named as git does, with at most {BRANCH_LENGTH} characters",
            detail={"branch": ["malformed or too long"]},
        )
    return branch


def _wrong(name: str, value: str) -> list[str]:
    reasons = []
    if not _NAME.fullmatch(name):
        reasons.append("must be letters, digits and _, and not start with a digit")
    if len(name) > VARIABLE_NAME_LENGTH:
        reasons.append(f"has a name longer than {VARIABLE_NAME_LENGTH} characters")
    if name.upper().startswith(_RESERVED_PREFIXES) or name.upper() in _RESERVED:
        reasons.append("is reserved: Holdfast sets it for every worker")
    return reasons + _wrong_value(value)


def _wrong_value(value: str) -> list[str]:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return ["has a value that is not valid Unicode"]
    if size > VARIABLE_VALUE_BYTES:
        return [f"has a value larger than {VARIABLE_VALUE_BYTES // 1024} KiB"]
    if "\0" in value:
        return ["has a value with a NUL character, which no process can be given"]
    return []
