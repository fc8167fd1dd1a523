"""Paths of the API that do not exist: refused in JSON, whoever asks."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from apps.api.endpoint import Endpoint
from apps.core.errors import NotFound


class Unknown(Endpoint):
    """No such path."""

    schema = None
    authentication_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound("There is no such path in this API")
