"""Bodies in and out: clients tell null from absent, so nothing is sent as null by accident."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from sys import float_info
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.errors import NotFound
from apps.core.ids import parse_public_id, public_id

_NOT_STORABLE = "contains a NUL character or half of a surrogate pair, which cannot be stored"


class Body(serializers.Serializer[Any]):
    """What a client sends; null counts as absent, and unknown keys are ignored."""

    keeps_null: ClassVar[frozenset[str]] = frozenset()

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, Mapping):
            kept = self.keeps_null
            data = {key: value for key, value in data.items() if value is not None or key in kept}
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """What DRF makes of it, without a look at each of the many keys that are not given."""
        if not isinstance(data, Mapping):
            found: dict[str, Any] = super().to_internal_value(data)  # which refuses it
            return found
        found, problems = {}, {}
        for name, field in self._fields_with_a_say:
            if name not in data and not field.required:
                continue
            try:
                found[name] = field.run_validation(data.get(name, serializers.empty))
            except serializers.ValidationError as error:
                problems[name] = error.detail
        if problems:
            raise serializers.ValidationError(problems)
        return found

    @cached_property
    def _fields_with_a_say(self) -> list[tuple[str, serializers.Field[Any, Any, Any, Any]]]:
        return [(name, field) for name, field in self.fields.items() if not field.read_only]


class Shape(serializers.Serializer[Any]):
    """What the server answers; a None is left out, except where the contract wants a null."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        found = super().to_representation(instance)
        return {
            name: value
            for name, value in found.items()
            if value is not None or name in self.nullable
        }


@extend_schema_field({"type": "string"})
class PublicIdField(serializers.Field[UUID, str, str, Any]):
    """An id as the outside spells it: a prefix and 26 characters."""

    def __init__(self, prefix: str, **options: Any) -> None:
        super().__init__(**options)
        self.prefix = prefix

    def to_internal_value(self, data: object) -> UUID:
        try:
            return parse_public_id(self.prefix, data if isinstance(data, str) else "")
        except NotFound:
            raise serializers.ValidationError(f"is not the id of a {self.prefix}") from None

    def to_representation(self, value: UUID) -> str:
        return public_id(self.prefix, value)


@extend_schema_field({})
class AnyField(serializers.Field[Any, Any, Any, Any]):
    """Any JSON value, untouched."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class StorableField(AnyField):
    """Any JSON value that a database can keep."""

    def to_internal_value(self, data: Any) -> Any:
        if not all(is_storable(text) for text in _texts(data)):
            raise serializers.ValidationError(_NOT_STORABLE)
        return data


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(serializers.Field[dict[str, Any], Any, dict[str, Any], Any]):
    """A JSON object that a database can keep."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be a JSON object")
        if not all(is_storable(text) for text in _texts(data)):
            raise serializers.ValidationError(_NOT_STORABLE)
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
class WordsField(serializers.Field[tuple[str, ...], Any, Any, Any]):
    """One string, or a list of them."""

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        words = [data] if isinstance(data, str) else data
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise serializers.ValidationError("must be a string or a list of strings")
        if not all(is_storable(word) for word in words):
            raise serializers.ValidationError(_NOT_STORABLE)
        return tuple(words)

    def to_representation(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number"}]})
class TextOrNumberField(serializers.Field[str, Any, str, Any]):
    """A string; a number is taken for its digits."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, str | int | float):
            raise serializers.ValidationError("must be a string or a number")
        if not is_storable(text := str(data)):
            raise serializers.ValidationError(_NOT_STORABLE)
        return text

    def to_representation(self, value: str) -> str:
        return value


class StrictBooleanField(serializers.BooleanField):
    """true or false and nothing that looks like them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false")
        return data


class StrictIntegerField(serializers.IntegerField):
    """A whole number, as a number."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float) or data != int(data):
            raise serializers.ValidationError("must be a whole number")
        return int(data)


class StrictNumberField(serializers.FloatField):
    """A finite number, as a number."""

    def to_internal_value(self, data: Any) -> float:
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        if not is_number or not abs(data) <= float_info.max:
            raise serializers.ValidationError("must be a number")
        return float(data)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can keep this text: no NUL, and valid as UTF-8."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _texts(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        match pending.pop():
            case str() as text:
                yield text
            case dict() as members:
                yield from members
                pending.extend(members.values())
            case list() as items:
                pending.extend(items)
