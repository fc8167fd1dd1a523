"""One invocation: the shared options, and the clients that they lead to.

An option wins over the environment, the environment over the profile. A token is sent to the
server that it was made for and to no other.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from holdfast import project as projects
from holdfast._http import DEFAULT_API_URL
from holdfast.api_errors import MissingCredentialsError, NotFoundError, PermissionDeniedError
from holdfast.cli import profiles
from holdfast.cli.exits import CliError, Exit
from holdfast.cli.output import Output
from holdfast.cli.profiles import Profile
from holdfast.client import SyncHoldfastClient
from holdfast.project import Project, ProjectError

ENVIRONMENTS = ("dev", "staging", "prod", "preview")
_SLUG_OF_KEY = {"dev": "dev", "stg": "staging", "prod": "prod", "preview": "preview"}


@dataclass(slots=True, kw_only=True)
class Options:
    """The options that every command takes."""

    profile: str | None = None
    api_url: str | None = None
    env: str | None = None
    project: str | None = None
    branch: str | None = None
    is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An environment to act in: its key and its address."""

    api_url: str
    secret_key: str
    environment: str
    project: str | None
    branch: str | None = None


class Session:
    """What commands ask for: output, the project, clients."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._clients: list[SyncHoldfastClient] = []

    @cached_property
    def output(self) -> Output:
        """Where results go."""
        return Output(is_json=self.options.is_json)

    @cached_property
    def profile_name(self) -> str:
        """The profile in use."""
        named = self.options.profile or os.environ.get("HOLDFAST_PROFILE")
        return named or profiles.load().current

    @cached_property
    def profile(self) -> Profile | None:
        """The profile in use, when there is one; raises CliError when one was named in vain."""
        known = profiles.load().by_name
        if self.options.profile and self.options.profile not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise CliError(f"There is no profile {self.profile_name!r} ({names}).", Exit.USAGE)
        return known.get(self.profile_name)

    @cached_property
    def api_url(self) -> str:
        """The server to speak to."""
        from_environment = None if self.options.profile else os.environ.get("HOLDFAST_API_URL")
        from_profile = self.profile.api_url if self.profile else None
        return check_url(
            self.options.api_url or from_environment or from_profile or DEFAULT_API_URL
        )

    @cached_property
    def access_token(self) -> str | None:
        """The personal access token for `api_url`, if there is one."""
        given = os.environ.get("HOLDFAST_ACCESS_TOKEN")
        if given and not self.options.profile:
            return given
        if self.profile and self.profile.api_url.rstrip("/") == self.api_url:
            return self.profile.access_token
        return None

    @cached_property
    def local_project(self) -> Project:
        """The project around the working folder; raises ProjectError."""
        return projects.load(projects.find())

    @cached_property
    def project_ref(self) -> str | None:
        """Which project is meant, as far as anything says so."""
        named = self.options.project or os.environ.get("HOLDFAST_PROJECT")
        if named:
            return named
        try:
            root = projects.find()
        except ProjectError:
            return None
        return projects.load(root).ref or None

    def require_project_ref(self) -> str:
        """Which project is meant; raises CliError when nothing says so."""
        if self.project_ref:
            return self.project_ref
        raise CliError(
            "Which project? Say --project proj_…, or put `ref` into holdfast.toml.", Exit.USAGE
        )

    @property
    def environment(self) -> str:
        """The environment that options name, for what only a person may do to it."""
        return self._named_environment("dev")

    @property
    def place(self) -> str:
        """The environment that commands look at, in a word."""
        key = self._given_key()
        return _environment_of(key) if key else self.environment

    def organization(self, named: str | None) -> str:
        """The slug of the organization that is meant: named, the project's, or the only one."""
        if named:
            return named
        client = self.personal()
        if self.project_ref:
            return client.projects.retrieve(self.project_ref).organization.slug
        found = [each.slug for each in client.organizations.list()]
        if len(found) == 1:
            return found[0]
        names = ", ".join(found) or "none yet"
        raise CliError(f"Which organization? Say --org SLUG ({names}).", Exit.USAGE)

    def confirm(self, question: str, *, is_sure: bool) -> None:
        """Ask once before something is gone; raises CliError where nobody can answer."""
        if is_sure:
            return
        if not self.output.is_interactive:
            raise CliError(f"{question} Say --yes to go on without being asked.", Exit.USAGE)
        if not click.confirm(question, err=True):
            raise click.Abort

    def personal(self) -> SyncHoldfastClient:
        """A client that acts as the person who is signed in; raises MissingCredentialsError."""
        token = self._require_token()
        return self._client(api_url=self.api_url, access_token=token, branch=self.options.branch)

    def anonymous(self) -> SyncHoldfastClient:
        """A client without any credentials, for signing in."""
        return self._client(api_url=self.api_url)

    @functools.cache  # noqa: B019 - a session lives as long as the command
    def target(self, default_environment: str = "dev") -> Target:
        """The environment to act in: that of HOLDFAST_SECRET_KEY, unless options name another."""
        if key := self._given_key():
            return Target(
                api_url=self.api_url,
                secret_key=key,
                environment=_environment_of(key),
                project=self.project_ref,
                branch=self.options.branch,
            )
        branch, environment = self.options.branch, self._named_environment(default_environment)
        project = self.require_project_ref()
        try:
            access = self.personal().account.environment(project, environment)
        except NotFoundError:
            raise CliError(
                f"{self.api_url} has no project {project} with an environment {environment!r} "
                f"{f'and a branch {branch!r} ' if branch else ''}that you may see.",
                Exit.NOT_FOUND,
            ) from None
        return Target(
            api_url=access.api_url or self.api_url,
            secret_key=access.api_key,
            environment=environment,
            project=project,
            branch=branch,
        )

    def client(self, default_environment: str = "dev") -> SyncHoldfastClient:
        """A client that acts in the environment that is meant.

        Who may not see its key, as a viewer, acts as themselves there.
        """
        try:
            target = self.target(default_environment)
        except PermissionDeniedError:
            return self._client(
                api_url=self.api_url,
                access_token=self._require_token(),
                project=self.require_project_ref(),
                environment=self._named_environment(default_environment),
                branch=self.options.branch,
            )
        return self._client(
            api_url=target.api_url, secret_key=target.secret_key, branch=target.branch
        )

    def without_branch(self) -> None:
        """Refuse --branch where it would not be heard; raises CliError."""
        if self.options.branch:
            raise CliError("Workers serve whole environments: leave --branch out.", Exit.USAGE)

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()

    def _given_key(self) -> str | None:
        """HOLDFAST_SECRET_KEY, unless options name another environment."""
        is_named = bool(self.options.env or self.options.project or self.options.profile)
        return None if is_named else os.environ.get("HOLDFAST_SECRET_KEY") or None

    def _named_environment(self, default: str) -> str:
        return self.options.env or ("preview" if self.options.branch else default)

    def _require_token(self) -> str:
        if self.access_token:
            return self.access_token
        raise MissingCredentialsError(
            f"Not signed in at {self.api_url}: run `holdfast login`, or set HOLDFAST_ACCESS_TOKEN."
        )

    def _client(self, **options: Any) -> SyncHoldfastClient:
        client = SyncHoldfastClient(source="cli", **options)
        self._clients.append(client)
        return client


def check_url(url: str) -> str:
    """An address without a closing slash; raises CliError when it is none."""
    if not re.match(r"https?://[^/\s]+", url):
        raise CliError(
            f"The server's address must look like https://holdfast.example.com, not {url!r}.",
            Exit.USAGE,
        )
    return url.rstrip("/")


def here(path: Path) -> str:
    """A path as short as it can be written from the working folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _environment_of(key: str) -> str:
    parts = key.split("_")
    return _SLUG_OF_KEY.get(parts[1], "dev") if len(parts) > 2 else "dev"


pass_session = click.make_pass_decorator(Session)
