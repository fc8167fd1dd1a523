"""What can go wrong with environments and their variables."""

from __future__ import annotations

from apps.core.errors import Invalid


class VariablesInvalid(Invalid):
    """Some variables cannot be kept; `detail` says which and why"""

    code = "variables_invalid"
