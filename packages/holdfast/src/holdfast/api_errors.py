"""What the API can answer instead of a result, as exceptions that name the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError


class ApiError(HoldfastError):
    """The API refused or failed a call.

    Attributes:
        message: The server's own sentence.
        status: The HTTP status, or None when there was no answer.
        code: The server's stable word for the cause, such as ``not_found``.
        details: What the server added, for instance the reasons for each field.
        headers: The response headers, with lower-case names.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details = details
        self.headers = dict(headers or {})


class BadRequestError(ApiError):
    """400: the request is malformed."""


class AuthenticationError(ApiError):
    """401: the key or token is missing, unknown or expired."""


class PermissionDeniedError(ApiError):
    """403: the credential is good, but does not allow this."""


class NotFoundError(ApiError):
    """404: it does not exist, or it is not yours."""


class ConflictError(ApiError):
    """409: not possible in the present state."""


class PayloadTooLargeError(ApiError):
    """413: the body is larger than the server takes."""


class UnprocessableError(ApiError):
    """422: understood, but wrong; `details` says which fields."""


class RateLimitError(ApiError):
    """429: too many requests, even after waiting."""


class ServerError(ApiError):
    """5xx: the server failed, even after several tries."""


class ApiConnectionError(ApiError):
    """No answer: the server could not be reached, or the connection broke."""


class MalformedAnswerError(ApiError):
    """The server answered something that is not what its contract says."""


class MissingCredentialsError(ApiError):
    """The call needs a key or a token, and the client was given none."""


class BatchNotSealedError(ApiError):
    """The server did not receive every item of a batch, even after several tries."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}


def class_for(status: int) -> type[ApiError]:
    """The class of error that an HTTP status means."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
