"""Large packets: addresses to put them at and to get them from, without a credential.

With S3 these are its own presigned addresses. With a local folder they are signed addresses of
this server, and the content type of an object, which says how it is decoded, is kept beside it.
"""

from __future__ import annotations

from typing import IO, Literal
from uuid import UUID

from django.core import signing
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, default_storage

from apps.api.errors import BadRequest
from apps.core.errors import Forbidden, NotFound

UPLOAD_LIMIT = 64 * 1024 * 1024
LIFETIME_SECONDS = 3_600
PATH = "/api/v1/blobs/"

Verb = Literal["PUT", "GET"]

_SALT = "holdfast.api.blobs"
_KEY_LENGTH = 512
_TYPE_SUFFIX = ".content-type"
_DEFAULT_TYPE = "application/json"


def upload_url(environment_id: UUID, key: str, *, base: str) -> str:
    """Where to PUT a packet; whoever has the address may do so for an hour."""
    return _url(environment_id, key, "PUT", base)


def download_url(environment_id: UUID, key: str, *, base: str) -> str:
    """Where to GET a packet; whoever has the address may do so for an hour."""
    return _url(environment_id, key, "GET", base)


def open_address(signature: str, verb: Verb) -> str:
    """The name of the object that a signed address is for; raises Forbidden."""
    try:
        granted, name = signing.loads(signature, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.SignatureExpired:
        raise Forbidden("This address has expired") from None
    except (signing.BadSignature, ValueError):
        raise Forbidden("This address is not valid") from None
    if granted != verb:
        raise Forbidden(f"This address is for {granted} only")
    return str(name)


def store(name: str, content: File[bytes], content_type: str) -> None:
    """Keep an object and its content type, in place of one of the same name."""
    for path, file in ((name, content), (name + _TYPE_SUFFIX, ContentFile(content_type.encode()))):
        default_storage.delete(path)
        default_storage.save(path, file)


def fetch(name: str) -> tuple[IO[bytes], str]:
    """An object and its content type; raises NotFound."""
    try:
        content = default_storage.open(name, "rb")
    except FileNotFoundError:
        raise NotFound("There is no such packet") from None
    try:
        with default_storage.open(name + _TYPE_SUFFIX, "rb") as kept:
            return content, kept.read().decode()
    except FileNotFoundError:
        return content, _DEFAULT_TYPE


def _url(environment_id: UUID, key: str, verb: Verb, base: str) -> str:
    name = object_name(environment_id, key)
    if isinstance(default_storage, FileSystemStorage):  # asks what it wraps, making it if need be
        return f"{base}{PATH}{signing.dumps([verb, name], salt=_SALT)}"
    return str(
        default_storage.url(  # type: ignore[call-arg]
            name, expire=LIFETIME_SECONDS, http_method=verb
        )
    )


def object_name(environment_id: UUID, key: str) -> str:
    """The name under which an environment's packet is kept; raises BadRequest."""
    parts = key.split("/")
    if (
        len(key) > _KEY_LENGTH
        or not key.isprintable()
        or not set(parts).isdisjoint(("", ".", ".."))
    ):
        raise BadRequest("A packet's key is a relative path of at most 512 printable characters")
    return f"packets/{environment_id}/{key}"
