"""What can go wrong in the domain; each face maps these once to its own language."""

from __future__ import annotations

from typing import Any, ClassVar


class DomainError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, *, detail: dict[str, Any] | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.detail = detail or {}
        super().__init__(self.message)


class NotFound(DomainError):
    """Not found"""

    code = "not_found"
    status = 404


class Forbidden(DomainError):
    """Not allowed"""

    code = "forbidden"
    status = 403


class Invalid(DomainError):
    """Invalid"""

    code = "invalid"
    status = 422


class Conflict(DomainError):
    """Conflict"""

    code = "conflict"
    status = 409


class IllegalTransition(Conflict):
    """This is not possible in the present state"""

    code = "illegal_transition"


class AlreadyExists(Conflict):
    """This exists already"""

    code = "already_exists"


class LimitExceeded(DomainError):
    """Too many requests"""

    code = "limit_exceeded"
    status = 429

    def __init__(self, message: str | None = None, *, retry_after: float) -> None:
        super().__init__(message, detail={"retry_after": retry_after})


class TooLarge(DomainError):
    """Too large"""

    code = "too_large"
    status = 413


class Unavailable(DomainError):
    """Not available at the moment"""

    code = "unavailable"
    status = 503
