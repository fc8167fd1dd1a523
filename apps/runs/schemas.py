"""Check a payload against its task's JSON schema before a run exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from apps.core.errors import Invalid

_MOST_ERRORS = 20
_LONGEST_MESSAGE = 300
_UNCHECKED = "application/store"


def check_schema(schema: dict[str, Any], payload: str | None, payload_type: str) -> None:
    """Raise Invalid with the path of each error; an off-loaded payload is checked by its worker."""
    checker(schema)(payload, payload_type)


def checker(schema: dict[str, Any]) -> Callable[[str | None, str], None]:
    """`check_schema` of one schema, for many payloads."""
    written = json.dumps(schema, sort_keys=True)

    def check(payload: str | None, payload_type: str) -> None:
        if payload_type == _UNCHECKED:
            return
        errors = _errors(written, _plain(payload, payload_type))
        if errors:
            said = "; ".join(f"{error['path']}: {error['message']}" for error in errors)
            raise Invalid(f"the payload does not fit the task: {said}", detail={"payload": errors})

    return check


def _errors(schema: str, value: Any) -> list[dict[str, str]]:
    try:
        found = islice(_validator(schema).iter_errors(value), _MOST_ERRORS)
        # a message quotes the value, which may be megabytes long
        return [{"path": e.json_path, "message": _cut(e.message)} for e in found]
    except (SchemaError, Unresolvable, RecursionError) as error:
        raise Invalid(
            f"the payload schema of the task cannot be used: {_cut(str(error))}",
            detail={"payload": ["the schema cannot be used"]},
        ) from None


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…"


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
    parsed = json.loads(schema)
    Draft202012Validator.check_schema(parsed)
    # With a registry of our own: by default a $ref makes the validator fetch the address it names.
    registry: Registry[Any] = Registry()
    return Draft202012Validator(parsed, registry=registry, format_checker=FormatChecker())
