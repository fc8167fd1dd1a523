"""Errors of steps as the journal keeps them, and the same errors again when they are raised.

What cannot be made again by its class and arguments is raised as `StepFailed` from the start, so
that an ``except`` clause catches the same whether the step has just failed or long ago.
"""

from __future__ import annotations

import sys
from typing import Any

from holdfast import packets
from holdfast.errors import StepFailed, builtin_error, describe

_CLASS, _ARGUMENTS, _TYPE = "pythonClass", "pythonArguments", "pythonArgumentsType"


def to_wire(error: BaseException) -> dict[str, Any]:
    """An exception for the journal: in the wire contract's form, with what makes it again."""
    wire = builtin_error(error)
    kind = type(error)
    try:
        data, data_type = packets.encode(list(error.args))
    except packets.PacketError:
        return wire
    return wire | {
        _CLASS: f"{kind.__module__}:{kind.__qualname__}",
        _ARGUMENTS: data,
        _TYPE: data_type,
    }


def to_exception(wire: dict[str, Any], *, name: str) -> BaseException:
    """The exception that was recorded; StepFailed when it cannot be made again.

    Args:
        wire: What `to_wire` made of it.
        name: The name of the step.
    """
    made = _made(wire)
    return StepFailed(name, wire) if made is None else made


def _made(wire: dict[str, Any]) -> BaseException | None:
    kind = _found(wire.get(_CLASS))
    if kind is None:
        return None
    try:
        arguments = packets.decode(wire.get(_ARGUMENTS), wire.get(_TYPE, packets.JSON))
        made = kind(*arguments)
    except Exception:  # a class of the customer's, which may want anything
        return None
    is_same = type(made) is kind and describe(builtin_error(made)) == describe(wire)
    return made if is_same else None


def _found(place: Any) -> type[Exception] | None:
    """The class of this name, if its module is imported already: a journal imports nothing."""
    if not isinstance(place, str):
        return None
    module_name, _, path = place.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
