"""What can go wrong with deployments."""

from __future__ import annotations

from apps.core.errors import Conflict, TooLarge


class ArchiveTooLarge(TooLarge):
    """The archive is larger than is allowed"""

    code = "archive_too_large"


class DeploymentClosed(Conflict):
    """This deployment is being built, or has ended; create another one"""

    code = "deployment_closed"
