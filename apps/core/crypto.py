"""Secrets at rest: digests for look-up, AES-GCM seals for what must be read again, signatures.

A sealed value is ``key id (4 bytes) + nonce (12) + ciphertext``. The first key of
``SEALING_KEYS`` seals; every key opens, so a key is rotated by putting a new one in front.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_ID_BYTES = 4
_NONCE_BYTES = 12


class SealError(Exception):
    """A sealed value cannot be opened: its key is gone, or it was changed."""


def digest(token: str) -> bytes:
    """SHA-256 of a high-entropy token, the only form in which it is looked up."""
    # A JSON body may hold half of a surrogate pair: unknown like any other, not an error.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_token(prefix: str, *, length: int = 32) -> str:
    """A fresh token: the prefix and `length` random characters of [0-9a-zA-Z]."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return prefix + "".join(secrets.choice(letters) for _ in range(length))


def seal(plaintext: str, *, context: str) -> bytes:
    """Encrypt under the newest key; `context` must be the same when it is opened."""
    key_id, cipher = next(iter(_ciphers(tuple(settings.SEALING_KEYS)).items()))
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return key_id + nonce + cipher.encrypt(nonce, plaintext.encode(), context.encode())


def unseal(sealed: bytes | memoryview, *, context: str) -> str:
    """Decrypt what `seal` made; raises SealError."""
    sealed = bytes(sealed)
    cipher = _ciphers(tuple(settings.SEALING_KEYS)).get(sealed[:_ID_BYTES])
    if cipher is None:
        raise SealError("sealed with a key that is not in SEALING_KEYS any more")
    nonce = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
    try:
        return cipher.decrypt(nonce, sealed[_ID_BYTES + _NONCE_BYTES :], context.encode()).decode()
    except InvalidTag:
        raise SealError("the sealed value was changed, or belongs to another record") from None


def is_sealed_with_newest_key(sealed: bytes | memoryview) -> bool:
    """Whether rotation has already reached this value."""
    return bytes(sealed)[:_ID_BYTES] == next(iter(_ciphers(tuple(settings.SEALING_KEYS))))


def signature(text: str, *, context: str) -> str:
    """What nobody but this server can know about `text`, under the newest key."""
    return _signature(settings.SEALING_KEYS[0], text, context)


def is_signature(given: str, text: str, *, context: str) -> bool:
    """Whether `signature` made this of `text`, under any key."""
    made = [_signature(key, text, context) for key in settings.SEALING_KEYS]
    return any(hmac.compare_digest(given.encode(), each.encode()) for each in made)


def _signature(key: str, text: str, context: str) -> str:
    material = hashlib.sha256(b"holdfast-sign:" + key.encode()).digest()
    return hmac.new(material, f"{context}\0{text}".encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _ciphers(keys: tuple[str, ...]) -> dict[bytes, AESGCM]:
    material = [hashlib.sha256(b"holdfast-seal:" + key.encode()).digest() for key in keys]
    return {hashlib.sha256(key).digest()[:_ID_BYTES]: AESGCM(key) for key in material}
