"""Exit codes, and which error means which: scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum

from holdfast import api_errors
from holdfast.archive import ArchiveError
from holdfast.project import ProjectError


class Exit(IntEnum):
    """How the command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    AUTHENTICATION = 3
    NOT_FOUND = 4
    REFUSED = 5
    RATE_LIMITED = 6
    UNAVAILABLE = 7
    PROJECT = 8
    INTERRUPTED = 130


MEANING = {
    Exit.OK: "It worked.",
    Exit.FAILED: "It was done, and what was asked for failed: a run, a deployment, an import.",
    Exit.USAGE: "The command line is wrong.",
    Exit.AUTHENTICATION: "Not signed in, or the key or token may not do this.",
    Exit.NOT_FOUND: "It does not exist, or it is not yours.",
    Exit.REFUSED: "The server understood and refused: wrong value, wrong state, too large.",
    Exit.RATE_LIMITED: "Too many requests, even after waiting.",
    Exit.UNAVAILABLE: "The server cannot be reached, or failed.",
    Exit.PROJECT: "The project or its holdfast.toml is wrong.",
    Exit.INTERRUPTED: "Interrupted with Ctrl-C.",
}


class CliError(Exception):
    """Something that ends the command with one line and a code."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_BY_KIND: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Exit], ...] = (
    (
        (
            api_errors.AuthenticationError,
            api_errors.PermissionDeniedError,
            api_errors.MissingCredentialsError,
        ),
        Exit.AUTHENTICATION,
    ),
    (api_errors.NotFoundError, Exit.NOT_FOUND),
    (api_errors.RateLimitError, Exit.RATE_LIMITED),
    (
        (
            api_errors.ServerError,
            api_errors.ApiConnectionError,
            api_errors.MalformedAnswerError,
            api_errors.BatchNotSealedError,
        ),
        Exit.UNAVAILABLE,
    ),
    (api_errors.ApiError, Exit.REFUSED),
    ((ProjectError, ArchiveError), Exit.PROJECT),
    (TimeoutError, Exit.FAILED),
)


def exit_code_of(error: Exception) -> Exit | None:
    """The code that an error means; None when it is a mistake of this program."""
    if isinstance(error, CliError):
        return error.exit_code
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), None)
