"""Types of payloads and results, from a task function's annotations."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import pydantic
import typing_extensions

from holdfast.errors import PayloadInvalid

_UNTYPED = (Any, inspect.Parameter.empty)


class SignatureError(TypeError):
    """A function cannot be a task; the text says what is wrong with its signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a task takes and returns.

    Attributes:
        takes_payload: Whether the function has a parameter for the payload.
        payload: Validates payloads; None when they are not annotated.
        output: Validates results; None when they are not annotated.
    """

    takes_payload: bool
    payload: pydantic.TypeAdapter[Any] | None
    output: pydantic.TypeAdapter[Any] | None

    def validate_payload(self, value: Any, *, task_id: str) -> Any:
        """The payload as its annotated type.

        Raises:
            PayloadInvalid: With the path of each error.
        """
        if self.payload is None:
            return value
        try:
            return self.payload.validate_python(value)
        except pydantic.ValidationError as error:
            raise PayloadInvalid(task_id, problems(error)) from None

    def validate_output(self, value: Any) -> Any:
        """A result as its annotated type; one that does not fit is returned as it came."""
        if self.output is None:
            return value
        try:
            return self.output.validate_python(value)
        except pydantic.ValidationError:
            return value


def check_signature(function: Callable[..., Any]) -> bool:
    """Whether a task function takes a payload.

    Raises:
        SignatureError: It needs more than one argument.
    """
    parameters = list(inspect.signature(function).parameters.values())
    required = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        name = getattr(function, "__name__", repr(function))
        raise SignatureError(f"task {name!r} must take at most one argument, the payload")
    return bool(parameters) and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY


def read_signature(function: Callable[..., Any]) -> Signature:
    """The signature of a task function.

    Raises:
        SignatureError: The function needs more than one argument, or an annotation cannot be
            understood.
    """
    takes_payload = check_signature(function)
    name = getattr(function, "__name__", repr(function))
    try:
        hints = get_type_hints(function, include_extras=True)
        first = next(iter(inspect.signature(function).parameters), "")
        return Signature(
            takes_payload=takes_payload,
            payload=_adapter(hints.get(first, Any)) if takes_payload else None,
            output=_adapter(hints.get("return", Any)),
        )
    except (NameError, pydantic.PydanticUserError, TypeError) as error:
        raise SignatureError(
            f"an annotation of task {name!r} is no usable type: {error}"
        ) from error


def json_schema(adapter: pydantic.TypeAdapter[Any] | None, *, of_input: bool) -> Any:
    """The JSON schema of a type, or None when it has none."""
    if adapter is None:
        return None
    try:
        return adapter.json_schema(mode="validation" if of_input else "serialization")
    except pydantic.PydanticUserError:
        return None


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any] | None:
    if annotation in _UNTYPED:
        return None
    return pydantic.TypeAdapter(_portable(annotation))


def _portable(annotation: Any) -> Any:
    """The annotation with `typing.TypedDict` as pydantic takes it before Python 3.12."""
    if sys.version_info >= (3, 12):
        return annotation
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        return _portable_dict(annotation)
    arguments = typing.get_args(annotation)
    portable = tuple(_portable(argument) for argument in arguments)
    if portable == arguments:
        return annotation
    if isinstance(annotation, types.UnionType):
        return functools.reduce(operator.or_, portable)
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(portable)
    return typing.get_origin(annotation)[portable]


def _portable_dict(annotation: Any) -> Any:
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(annotation, include_extras=True).items():
        inner = _portable(hint)
        is_required = name in annotation.__required_keys__
        fields[name] = inner if is_required else typing_extensions.NotRequired[inner]
    return typing_extensions.TypedDict(annotation.__name__, fields)  # type: ignore[operator]


def problems(error: pydantic.ValidationError) -> list[dict[str, Any]]:
    """What is wrong with a value, one map per problem."""
    return [
        {
            "path": ".".join(str(step) for step in problem["loc"]),
            "message": problem["msg"],
            "type": problem["type"],
        }
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
