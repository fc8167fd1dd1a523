"""What a flow asks of its transport, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast import api_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request, complete."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response, read to its end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON; raises MalformedAnswerError."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise api_errors.MalformedAnswerError(
                f"the server answered {self.status} with something that is not JSON; "
                "is this the address of a Holdfast server?",
                status=self.status,
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There was no response, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait this long."""

    seconds: float
