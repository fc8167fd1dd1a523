"""How static files are collected: with their digest in the name, and compressed."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Files may be kept for ever by a browser, since a changed one has another name.

    Our own modules import one another by names of the import map, so nothing in them is rewritten.
    A name that is not in the manifest is served as it is: the admin's of a third party, say.
    """

    manifest_strict = False
