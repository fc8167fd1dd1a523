"""Compression of request and response bodies, as ClickHouse's HTTP interface speaks it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame
from backports import zstd

_GZIP, _DEFLATE = 31, 15


class Decompressor(Protocol):
    """Whatever turns compressed chunks into plain ones."""

    def decompress(self, data: bytes, /) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(_GZIP),
    "deflate": lambda: zlib.decompressobj(_DEFLATE),
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}

# In the order of preference here: what costs least on a loopback comes first.
_COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": lambda data: _zlib(data, _GZIP),
    "deflate": lambda data: _zlib(data, _DEFLATE),
}


class UnknownEncoding(ValueError):
    """A Content-Encoding that is not spoken here."""


def decompressed(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The plain body of a request; several frames may follow each other."""
    if encoding in {"", "identity"}:
        yield from chunks
        return
    make = _DECOMPRESSORS.get(encoding)
    if make is None:
        raise UnknownEncoding(encoding)
    decompressor = make()
    for chunk in chunks:
        while chunk:
            if plain := decompressor.decompress(chunk):
                yield plain
            chunk = bytes(getattr(decompressor, "unused_data", b"") or b"")
            if chunk or getattr(decompressor, "eof", False):
                decompressor = make()


def choose(accepted: str) -> str:
    """The encoding of a response, out of an Accept-Encoding header; blank for none."""
    offered = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    return next((name for name in _COMPRESSORS if name in offered), "")


def compress(data: bytes, encoding: str) -> bytes:
    """One whole frame."""
    return _COMPRESSORS[encoding](data)


def is_framed(encoding: str) -> bool:
    """Whether clients read several frames one after the other, so that a response can stream."""
    return encoding in {"", "lz4"}


def _zlib(data: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=window)
    return compressor.compress(data) + compressor.flush()
