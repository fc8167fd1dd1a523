"""Profiles: the servers that someone is signed in to, in one file that only they may read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast.cli.exits import CliError, Exit

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A server, and the token of whoever is signed in there."""

    api_url: str
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """All profiles, and the name of the one that is used when none is named."""

    current: str = DEFAULT
    by_name: dict[str, Profile] = field(default_factory=dict)

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """These, with one added or replaced."""
        return replace(self, by_name={**self.by_name, name: profile})


def path() -> Path:
    """Where the file is."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "holdfast" / "config.json"


def load() -> Profiles:
    """What the file says; nothing when there is none. Raises CliError."""
    try:
        data = json.loads(path().read_text(encoding="utf-8"))
        return Profiles(
            current=data.get("currentProfile", DEFAULT),
            by_name={name: _profile(given) for name, given in data.get("profiles", {}).items()},
        )
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CliError(
            f"{path()} cannot be read ({error}): mend it, or remove it and sign in again.",
            Exit.USAGE,
        ) from None


def save(profiles: Profiles) -> None:
    """Write the file in one step, readable by its owner only."""
    data = {
        "version": 1,
        "currentProfile": profiles.current,
        "profiles": {name: _wire(profile) for name, profile in profiles.by_name.items()},
    }
    target = path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = target.with_suffix(f".{os.getpid()}.tmp")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        raise CliError(f"{target} cannot be written: {error.strerror}", Exit.USAGE) from None


def _profile(given: dict[str, Any]) -> Profile:
    return Profile(api_url=str(given["apiUrl"]), access_token=given.get("accessToken"))


def _wire(profile: Profile) -> dict[str, Any]:
    wire = {"apiUrl": profile.api_url}
    return wire | {"accessToken": profile.access_token} if profile.access_token else wire
