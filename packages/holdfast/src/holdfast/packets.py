"""Values as they travel: `(data, data_type)` pairs, in plain text, JSON or superjson.

The rule it keeps: what Python encodes, an unmodified JavaScript client decodes to the same value,
and the other way round. Sizes at and above `OFFLOAD_BYTES` travel through object storage instead.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

import pydantic

JSON = "application/json"
SUPERJSON = "application/super+json"
TEXT = "text/plain"
STORE = "application/store"

OFFLOAD_BYTES = 131_072
"""Encoded size in bytes from which a packet goes to object storage."""

MAX_BYTES = 3 * 1024 * 1024
"""Largest encoded size in bytes that the server accepts for a payload."""

_SAFE_INTEGER = 2**53 - 1


class Packet(NamedTuple):
    """An encoded value.

    Attributes:
        data: The text, or None when there is no value (JavaScript's `undefined`).
        data_type: How `data` is encoded: one of the media types of this module.
    """

    data: str | None
    data_type: str

    @property
    def size(self) -> int:
        """Size of the text in bytes, as UTF-8."""
        return 0 if self.data is None else len(self.data.encode())


class PacketError(ValueError):
    """A value cannot be encoded, or a packet cannot be decoded; the text says where and why."""


def encode(value: Any) -> Packet:
    """Encode a value for the wire.

    Args:
        value: JSON values, and also `datetime`, `date`, `set`, `dict` with keys that are no
            text, integers of any size, `Decimal`, `UUID`, enums, paths, bytes, dataclasses and
            pydantic models, at any depth.

    Returns:
        A packet: absent for None, `text/plain` for text, superjson for anything else.

    Raises:
        PacketError: The value holds something that has no form on the wire, or itself.
    """
    if value is None:
        return Packet(None, JSON)
    if type(value) is str:
        return Packet(value, TEXT)
    annotations: dict[str, Any] = {}
    tree, root = _write(value, None, annotations, 0)
    body: dict[str, Any] = {"json": tree}
    if root is not None:
        body["meta"] = {"values": [root, annotations] if annotations else [root]}
    elif annotations:
        body["meta"] = {"values": annotations}
    return Packet(_dump(body), SUPERJSON)


def decode(data: str | None, data_type: str = JSON) -> Any:
    """Decode a packet into Python values.

    Args:
        data: The text of the packet; None is "no value".
        data_type: Its media type.

    Returns:
        The value: JavaScript dates as aware `datetime` in UTC, bigints as `int`, maps as `dict`,
        sets as `set` (a `list` when a member cannot be hashed), `undefined` as None.

    Raises:
        PacketError: The text is not what the type says, or it is only a reference to a store.
    """
    if data is None:
        return None
    if data_type.startswith(TEXT):
        return data
    if data_type == STORE:
        raise PacketError("the packet is in object storage: download it before decoding")
    parsed = _parse(data, data_type)
    if data_type != SUPERJSON or not _is_envelope(parsed):
        return parsed
    meta = parsed.get("meta") or {}
    values = meta.get("values") if isinstance(meta, dict) else None
    try:
        return (
            _annotate(parsed["json"], values, strict=bool(meta.get("v")))
            if values
            else parsed["json"]
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PacketError(f"the superjson annotations do not fit the value: {error!r}") from None


def plain(data: str | None, data_type: str = JSON) -> Any:
    """The JSON value of a packet, as an API shows it: annotations are dropped.

    Args:
        data: The text of the packet; None is "no value".
        data_type: Its media type.

    Returns:
        A value of JSON types only; dates stay ISO 8601 text.

    Raises:
        PacketError: The text is not what the type says.
    """
    if data is None or data_type.startswith(TEXT) or data_type == STORE:
        return data
    parsed = _parse(data, data_type)
    return parsed["json"] if data_type == SUPERJSON and _is_envelope(parsed) else parsed


def _parse(data: str, data_type: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise PacketError(f"not {data_type}: {error}") from None
    except RecursionError:
        raise PacketError(f"not {data_type}: nested too deeply") from None


def _is_envelope(parsed: Any) -> bool:
    return isinstance(parsed, dict) and "json" in parsed


def _dump(body: Any) -> str:
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise PacketError(f"the value cannot be encoded: {error}") from None


# -- writing -----------------------------------------------------------------------------------

_MAX_DEPTH = 200


def _write(value: Any, path: str | None, out: dict[str, Any], depth: int) -> tuple[Any, Any]:
    """The JSON form of `value` and its own annotation; those of its parts go to `out` by path."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value, None
    if depth > _MAX_DEPTH:
        raise PacketError(f"{path or 'the value'} is nested too deeply, or holds itself")
    writer = _WRITERS.get(kind)
    if writer is None:
        return _write(_reduce(value, path), path, out, depth + 1)
    return writer(value, path, out, depth)


def _write_part(value: Any, path: str, out: dict[str, Any], depth: int) -> Any:
    while type(value) not in _BASIC:
        value = _reduce(value, path)
    if type(value) in (set, frozenset) or (type(value) is dict and not _has_text_keys(value)):
        inner: dict[str, Any] = {}
        tree, annotation = _write(value, None, inner, depth + 1)
        out[path] = [annotation, inner] if inner else [annotation]
        return tree
    tree, annotation = _write(value, path, out, depth + 1)
    if annotation is not None:
        out[path] = [annotation]
    return tree


def _write_int(value: int, *_: Any) -> tuple[Any, Any]:
    return (value, None) if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else (str(value), "bigint")


def _write_float(value: float, *_: Any) -> tuple[Any, Any]:
    if math.isfinite(value):
        return value, None
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity"), "number"


def _write_date(moment: datetime, *_: Any) -> tuple[Any, Any]:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    text = aware.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z"), "Date"


def _write_list(values: Any, path: str | None, out: dict[str, Any], depth: int) -> tuple[Any, Any]:
    prefix = "" if path is None else f"{path}."
    return [_write_part(v, f"{prefix}{i}", out, depth) for i, v in enumerate(values)], None


def _write_set(values: Any, path: str | None, out: dict[str, Any], depth: int) -> tuple[Any, Any]:
    return _write_list(values, path, out, depth)[0], "set"


def _write_dict(
    value: dict[Any, Any], path: str | None, out: dict[str, Any], depth: int
) -> tuple[Any, Any]:
    if not _has_text_keys(value):
        return _write_list(value.items(), path, out, depth)[0], "map"
    tree = {}
    for key, item in value.items():
        step = key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key
        tree[key] = _write_part(item, step if path is None else f"{path}.{step}", out, depth)
    return tree, None


def _has_text_keys(value: dict[Any, Any]) -> bool:
    return all(type(key) is str for key in value)


_WRITERS: dict[type, Callable[[Any, str | None, dict[str, Any], int], tuple[Any, Any]]] = {
    int: _write_int,
    float: _write_float,
    datetime: _write_date,
    list: _write_list,
    tuple: _write_list,
    set: _write_set,
    frozenset: _write_set,
    dict: _write_dict,
}
_BASIC = {*_WRITERS, str, bool, type(None)}


def _reduce(value: Any, path: str | None) -> Any:
    """One step from a richer type towards the basic ones."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for kind, plainly in _PLAINLY.items():
        if isinstance(value, kind):
            return plainly(value)
    where = f" at {path}" if path else ""
    raise PacketError(f"a {type(value).__name__}{where} has no form in JSON")


_PLAINLY: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: datetime.fromisoformat(value.isoformat()),
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    Mapping: dict,
    list: list,
    tuple: list,
    set: set,
    frozenset: set,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    Decimal: str,
    UUID: str,
    PurePath: str,
    bytes: lambda value: base64.b64encode(value).decode(),
    re.Pattern: lambda value: value.pattern,
}


# -- reading -----------------------------------------------------------------------------------


def _annotate(value: Any, tree: Any, *, strict: bool) -> Any:
    """Turn the annotated parts of a JSON value into what they were; children before parents."""
    if isinstance(tree, dict):
        for path, subtree in tree.items():
            value = _replace(value, list(_steps(path, strict)), subtree, strict=strict)
        return value
    if not isinstance(tree, list):
        raise TypeError("an annotation must be a list or a map of paths")
    annotation, inner = tree[0], tree[1] if len(tree) > 1 else None
    if inner:
        value = _annotate(value, inner, strict=strict)
    return _restore(value, annotation)


def _steps(path: str, strict: bool) -> Iterator[str]:
    step = ""
    letters = iter(path)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            step += (
                following if following == "." or strict or following == "\\" else "\\" + following
            )
        elif letter == ".":
            yield step
            step = ""
        else:
            step += letter
    yield step


def _replace(value: Any, steps: list[str], tree: Any, *, strict: bool) -> Any:
    if not steps:
        return _annotate(value, tree, strict=strict)
    key: Any = int(steps[0]) if isinstance(value, list) else steps[0]
    value[key] = _replace(value[key], steps[1:], tree, strict=strict)
    return value


def _restore(value: Any, annotation: Any) -> Any:
    name = annotation if isinstance(annotation, str) else annotation[0]
    reader = _READERS.get(name)
    return value if reader is None else reader(value)


def _read_set(items: list[Any]) -> Any:
    try:
        return set(items)
    except TypeError:
        return items


def _read_map(pairs: list[Any]) -> Any:
    try:
        return {key: value for key, value in pairs}  # noqa: C416 - a pair may be a list of two
    except TypeError:
        return pairs


_READERS: dict[str, Callable[[Any], Any]] = {
    "Date": lambda text: None if text is None else datetime.fromisoformat(text),
    "undefined": lambda _: None,
    "bigint": int,
    "number": lambda text: -0.0 if text == "-0" else float(text),
    "set": _read_set,
    "map": _read_map,
}
