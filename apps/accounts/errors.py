"""What can go wrong when somebody says who they are."""

from __future__ import annotations

from apps.core.errors import DomainError, Forbidden, Invalid


class NotAuthenticated(DomainError):
    """Invalid or missing credential"""

    code = "unauthorized"
    status = 401


class CodeUnusable(Invalid):
    """This code is unknown, expired or already used: run the login command again"""

    code = "code_unusable"
    status = 400


class CodeDenied(Invalid):
    """The login was denied in the browser"""

    code = "code_denied"
    status = 400


class LinkUnusable(Invalid):
    """This link is unknown, expired or already used: ask for a new one"""

    code = "link_unusable"
    status = 400


class SignUpClosed(Forbidden):
    """New people join by invite: ask an organization's owner or admin for one"""

    code = "sign_up_closed"


class Inactive(Forbidden):
    """This account is not active: ask whoever runs this server"""

    code = "inactive"
