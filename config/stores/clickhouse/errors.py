"""ClickHouse's errors, and the statuses that its HTTP interface gives them."""

from __future__ import annotations

import re

_CODE = re.compile(r"Code: (\d+)\b")

NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
UNKNOWN_COMPRESSION_METHOD = 89
AUTHENTICATION_FAILED = 516
UNKNOWN_EXCEPTION = 1002
_ABORTED = 236

_STATUSES = {
    **dict.fromkeys(  # what the client wrote cannot be understood
        (6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 321, 427, 456, 457), 400
    ),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336), 404),  # no such thing
    **dict.fromkeys((192, 193, 516), 403),
    48: 501,
    209: 408,
    439: 503,
}


class QueryError(Exception):
    """A statement failed; the message is ClickHouse's own."""

    def __init__(self, message: str) -> None:
        found = _CODE.search(message)
        self.code = int(found[1]) if found else UNKNOWN_EXCEPTION
        if not found:
            message = f"Code: {self.code}. DB::Exception: {message} (UNKNOWN_EXCEPTION)"
        self.message = message.strip()
        super().__init__(self.message)

    @property
    def is_fatal(self) -> bool:
        """Whether the engine has broken and will refuse everything from now on."""
        return self.code == _ABORTED and "fatal error" in self.message

    @property
    def status(self) -> int:
        return _STATUSES.get(self.code, 500)


def query_error(code: int, name: str, text: str) -> QueryError:
    """An error of our own, in ClickHouse's words."""
    return QueryError(f"Code: {code}. DB::Exception: {text} ({name})")
