"""The kinds of environment, and how each is spelled in paths and keys."""

from __future__ import annotations

from enum import StrEnum


class EnvironmentType(StrEnum):
    PRODUCTION = "production"
    STAGING = "staging"
    PREVIEW = "preview"
    DEVELOPMENT = "development"

    @property
    def slug(self) -> str:
        """The word in paths, as the wire contract has it."""
        return _SLUGS[self]

    @property
    def key_prefix(self) -> str:
        """What a secret key of such an environment starts with."""
        return _KEY_PREFIXES[self]


def is_slug(text: str) -> bool:
    """Whether paths spell some kind of environment so."""
    return text in _SLUGS.values()


_SLUGS = {
    EnvironmentType.PRODUCTION: "prod",
    EnvironmentType.STAGING: "staging",
    EnvironmentType.PREVIEW: "preview",
    EnvironmentType.DEVELOPMENT: "dev",
}
# No `sk_` after the prefix: the public clients take such a key for one that cannot sign tokens.
_KEY_PREFIXES = {
    EnvironmentType.PRODUCTION: "tr_prod_",
    EnvironmentType.STAGING: "tr_stg_",
    EnvironmentType.PREVIEW: "tr_preview_",
    EnvironmentType.DEVELOPMENT: "tr_dev_",
}
