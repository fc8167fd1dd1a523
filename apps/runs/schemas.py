"""Check a payload against its task's JSON schema before a run exists."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from apps.core.errors import Invalid

_MOST_ERRORS = 20
_UNCHECKED = "application/store"


def check_schema(schema: dict[str, Any], payload: str | None, payload_type: str) -> None:
    """Raise Invalid with the path of each error; an off-loaded payload is checked by its worker."""
    if payload_type == _UNCHECKED:
        return
    errors = [
        {"path": error.json_path, "message": error.message}
        for error, _ in zip(
            _validator(json.dumps(schema, sort_keys=True)).iter_errors(
                _plain(payload, payload_type)
            ),
            range(_MOST_ERRORS),
            strict=False,
        )
    ]
    if errors:
        said = "; ".join(f"{error['path']}: {error['message']}" for error in errors)
        raise Invalid(f"the payload does not fit the task: {said}", detail={"payload": errors})


def _plain(payload: str | None, payload_type: str) -> Any:
    """The JSON value inside a packet; superjson's annotations do not matter to a schema."""
    if payload is None or payload_type == "text/plain":
        return payload
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise Invalid(
            f"the payload is not JSON: {error}", detail={"payload": ["not JSON"]}
        ) from None
    if payload_type == "application/super+json" and isinstance(value, dict):
        return value.get("json")
    return value


@lru_cache(maxsize=1_000)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema), format_checker=FormatChecker())
