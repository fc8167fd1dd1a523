"""The environments of a project: limits, pause, branches, and the keys that open them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from holdfast._http import AsyncTransport, Flow, SyncTransport
from holdfast.client.personal import PersonalGroup, path
from holdfast.client.results import Result
from holdfast.client.surface import operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Result):
    """An environment, or a branch of one.

    Attributes:
        id: Its id, ``env_…``.
        name: What it is called.
        slug: dev, staging, prod or preview.
        type: The same in full.
        branch: Of a branch, its name.
        paused: Whether no run starts here.
        concurrency_limit: How many runs one queue alone may execute at once.
        burst_factor: How far beyond it several queues together may go.
        weight: Its share of what starts, beside other environments of the organization.
        created_at: When it was made.
    """

    id: str
    name: str
    slug: str
    type: str
    concurrency_limit: int
    burst_factor: float = 1.0
    weight: float = 1.0
    paused: bool = False
    branch: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level(Result):
    """How many slots of a limit are held; a limit of None bounds nothing."""

    used: int
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency(Result):
    """The limits above those of queues, as they stand now.

    `base` is what one queue alone may use of the environment, whose limit is that with the burst.
    """

    organization: Level
    environment: Level
    base: int
    burst_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Result):
    """A key by its end; the main one has no name, and expires only once it was replaced."""

    id: str
    obfuscated_key: str
    name: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedApiKey(Result):
    """A new key, in full this once."""

    id: str
    obfuscated_key: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(Result):
    """The main key after it was replaced."""

    api_key: str = field(repr=False)


class Environments(PersonalGroup[Transport]):
    """``client.environments``: `project` is a ref, `environment` dev, staging, prod or preview."""

    @operation
    def pause(self, project: str, environment: str) -> Flow[None]:
        """Start no more runs; those that execute go on."""
        return self._tell("POST", path("projects", project, environment, "pause"))

    @operation
    def resume(self, project: str, environment: str) -> Flow[None]:
        """Let runs start again."""
        return self._tell("POST", path("projects", project, environment, "resume"))

    @operation
    def limit(
        self,
        project: str,
        environment: str,
        concurrency_limit: int | None = None,
        *,
        weight: float | None = None,
    ) -> Flow[Environment]:
        """Say how many runs execute at once, what the share beside others is, or both.

        Args:
            project: A ref, ``proj_…``.
            environment: dev, staging, prod or preview.
            concurrency_limit: Runs at once, 0 to 1,000,000; as it was when None.
            weight: The share of what starts, beside other environments of the organization: 0.001
                to 1,000, where each has 1 unless it says; as it was when None.

        Raises:
            BadRequestError: Neither was said, or one is out of its bounds.
        """
        body = {"concurrencyLimit": concurrency_limit, "weight": weight}
        return self._ask(Environment, "PUT", path("projects", project, environment, "limits"), body)

    @operation
    def concurrency(self, project: str, environment: str) -> Flow[Concurrency]:
        """How many slots of the environment, and of its organization, are held now."""
        where = path("projects", project, environment, "concurrency")
        return self._ask(Concurrency, "GET", where)

    @operation
    def list(self, project: str) -> Flow[list[Environment]]:
        """The environments of a project: the standard ones, then one's own."""
        return self._ask(list[Environment], "GET", path("projects", project, "environments"))


class Branches(PersonalGroup[Transport]):
    """``client.branches``: those of preview, or of one's own dev."""

    @operation
    def create(
        self, project: str, branch: str, *, environment: str = "preview"
    ) -> Flow[Environment]:
        """Make a branch, named as git does; or retrieve the active one of this name."""
        body = {"env": environment, "branch": branch}
        return self._ask(Environment, "POST", path("projects", project, "branches"), body)

    @operation
    def archive(self, project: str, branch: str, *, environment: str = "preview") -> Flow[None]:
        """Put a branch away: its history stays, its name becomes free."""
        body = {"env": environment, "branch": branch}
        return self._tell("POST", path("projects", project, "branches", "archive"), body)

    @operation
    def list(self, project: str, *, environment: str = "preview") -> Flow[list[Environment]]:
        """The active branches, newest first."""
        where = path("projects", project, "branches")
        return self._ask(list[Environment], "GET", where, query={"env": environment})


class Keys(PersonalGroup[Transport]):
    """``client.keys``: the secret keys of an environment; a branch has its parent's."""

    @operation
    def create(
        self, project: str, environment: str, name: str, *, expires_in: str | None = None
    ) -> Flow[CreatedApiKey]:
        """Make one more key, for one program.

        Args:
            project: A ref, ``proj_…``.
            environment: dev, staging, prod or preview.
            name: What it is for.
            expires_in: A duration such as ``90d``; it never expires when None.

        Returns:
            The key, in full this once.
        """
        body = {"name": name, "expirationTime": expires_in}
        return self._ask(CreatedApiKey, "POST", _keys(project, environment), body)

    @operation
    def regenerate(self, project: str, environment: str) -> Flow[NewKey]:
        """Replace the main key; the older one works for another 24 hours."""
        where = path("projects", project, environment, "regenerate-api-key")
        return self._ask(NewKey, "POST", where)

    @operation
    def revoke(self, project: str, environment: str, key: str) -> Flow[None]:
        """End a key with a name, or a replaced one, at once.

        Raises:
            UnprocessableError: It is the main key, which can only be replaced.
        """
        return self._tell("DELETE", path("projects", project, environment, "api-keys", key))

    @operation
    def list(self, project: str, environment: str) -> Flow[list[ApiKey]]:
        """The keys by their ends: the main one, replaced ones in their grace, the named."""
        return self._ask(list[ApiKey], "GET", _keys(project, environment))


def _keys(project: str, environment: str) -> str:
    return path("projects", project, environment, "api-keys")
