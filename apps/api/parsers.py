"""Bodies: JSON whatever the content type says, absent bodies as empty, and never beyond a limit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from apps.api.errors import BadRequest
from apps.core.errors import TooLarge

DEFAULT_LIMIT = 1024 * 1024


class AnyContentTypeJSONParser(BaseParser):
    """JSON irrespective of content type; some clients post it as text/plain, or as nothing."""

    media_type = "application/json"  # what the document says; nothing else is looked at

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        view = (parser_context or {}).get("view")
        raw = read_limited(stream, getattr(view, "body_limit", DEFAULT_LIMIT))
        return parse_json(raw)


def read_limited(stream: IO[bytes], limit: int) -> bytes:
    """The whole body, or TooLarge as soon as it is known to be longer than `limit` bytes."""
    raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(f"The body may be at most {limit} bytes")
    return raw


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text; an empty body is an empty object. Raises BadRequest."""
    if not raw.strip():
        return {}
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadRequest("The body is not JSON: it is not UTF-8") from None
    except RecursionError:
        raise BadRequest("The body is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from None


def lines(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """Numbered non-empty lines of an NDJSON body; a longer one than `limit` is TooLarge."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise TooLarge(f"Line {number}: an item may be at most {limit} bytes")
        if line := line.strip():
            yield number, line


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
