"""What every endpoint shares: its caller, its scope, its body, the time of the request."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from apps.api.caller import Caller
from apps.api.errors import Unauthorized
from apps.api.parsers import DEFAULT_LIMIT
from apps.api.serializers.base import is_storable
from apps.core import clock
from apps.core.errors import NotFound
from apps.environments.access import scope_for_user
from apps.environments.queries import get_environment
from apps.environments.scope import Scope
from apps.orgs.actors import OrganizationScope
from apps.orgs.queries import organization_scope_by_slug


class JSONWhateverIsAsked(BaseContentNegotiation):
    """The first parser and the first renderer, whatever content types the client names."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        chosen = next(iter(renderers))
        return chosen, chosen.media_type


class StreamedRequest(Request):
    """A request whose body is read even when it announces no length (chunked transfer)."""

    def _load_stream(self) -> None:
        is_read = getattr(self._request, "_read_started", False)
        self._stream: Any = io.BytesIO(self._request.body) if is_read else self._request


class Endpoint(APIView):
    """One path of the API."""

    body_limit = DEFAULT_LIMIT
    content_negotiation_class = JSONWhateverIsAsked

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        return StreamedRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not all(is_storable(part) for part in kwargs.values()):
            raise NotFound
        super().initial(request, *args, **kwargs)

    @property
    def caller(self) -> Caller:
        """The credential of this request."""
        if not isinstance(self.request.auth, Caller):
            raise Unauthorized
        return self.request.auth

    @property
    def scope(self) -> Scope:
        """The environment this request is about."""
        return self.caller.scope

    @property
    def base(self) -> str:
        """The address of this server as the client knows it."""
        return self.request.build_absolute_uri("/").rstrip("/")

    @property
    def now(self) -> datetime:
        """The time of this request."""
        return clock.now()

    @property
    def person(self) -> Any:
        """Who this request is from; raises Unauthorized for a key."""
        if self.caller.user is None:
            raise Unauthorized
        return self.caller.user

    def organization_in(self, slug: str) -> OrganizationScope:
        """The caller in the organization that a path names; raises NotFound."""
        return organization_scope_by_slug(self.person, slug)

    def scope_in(self, ref: str, slug: str) -> Scope:
        """The environment that a path names: a person's own choice, or the very one of a key."""
        if self.caller.user is not None:
            branch = self.request.headers.get("x-trigger-branch")
            return scope_for_user(self.caller.user, ref, slug, branch, now=self.now)
        environment = get_environment(self.scope)
        if (environment.project.ref, environment.slug) != (ref, slug):
            raise NotFound("This key is for another project or environment")
        return self.scope


def read(serializer: BaseSerializer[Any], data: Any) -> dict[str, Any]:
    """The validated body; raises ValidationError with the path of all that is wrong.

    Takes an instance that is made once and shared: validating keeps nothing on a serializer, and
    making one copies all its fields, which costs more than the validation itself.
    """
    found: dict[str, Any] = serializer.run_validation(data)
    return found
