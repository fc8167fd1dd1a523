"""What can go wrong when somebody says who they are."""

from __future__ import annotations

from apps.core.errors import DomainError, Invalid


class NotAuthenticated(DomainError):
    """Invalid or missing credential"""

    code = "unauthorized"
    status = 401


class CodeUnusable(Invalid):
    """This code is unknown, expired or already used: run the login command again"""

    code = "code_unusable"
    status = 400
