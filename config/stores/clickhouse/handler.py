"""One request of ClickHouse's HTTP interface: read it, run it, answer it."""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from config.stores.clickhouse import encoding, statement
from config.stores.clickhouse.errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    UNKNOWN_COMPRESSION_METHOD,
    QueryError,
    query_error,
)

if TYPE_CHECKING:
    from config.stores.clickhouse.database import Database, Result, Session, Summary

USER = "holdfast"
_CHUNK = 1 << 20
_HEAD = 1 << 16  # an INSERT's own text is shorter than this
_KEEP_ALIVE_SECONDS = 300

# Parameters of the interface itself; everything else in the query string is a setting.
_OWN = frozenset(
    {
        *("query", "database", "default_format", "user", "password", "query_id", "quota_key"),
        *("session_id", "session_timeout", "session_check", "close_session", "role"),
        *("compress", "decompress", "enable_http_compression", "wait_end_of_query"),
        *("buffer_size", "client_protocol_version", "stacktrace"),
    }
)


class Handler(BaseHTTPRequestHandler):
    """Speaks the interface for one connection."""

    database: ClassVar[Database]
    password: ClassVar[str]
    protocol_version = "HTTP/1.1"
    server_version = "ClickHouse"
    sys_version = ""
    timeout = _KEEP_ALIVE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    _idle: ClassVar[threading.Condition] = threading.Condition()
    _busy: ClassVar[int] = 0

    @classmethod
    def drain(cls, seconds: float) -> None:
        """Wait until no request is being answered."""
        with cls._idle:
            cls._idle.wait_for(lambda: Handler._busy == 0, seconds)

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if path.path == "/ping" or (path.path == "/" and "query" not in self._parameters()):
            self._send(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
        elif path.path == "/":
            self._answer()
        else:
            self._send(404, f"There is no handle {path.path}\n".encode(), {})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the statements may hold what nobody should read."""

    def _answer(self) -> None:
        with Handler._idle:
            Handler._busy += 1
        try:
            Exchange(self).run()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            with Handler._idle:
                Handler._busy -= 1
                Handler._idle.notify_all()

    def _parameters(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunks(self) -> Iterator[bytes]:
        """The request's body as it arrives, without its transfer encoding."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline(1024).partition(b";")[0] or b"0", 16):
                yield self._exactly(size)
                self.rfile.readline(1024)
            while self.rfile.readline(65_536) not in {b"\r\n", b"\n", b""}:
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            chunk = self._exactly(min(left, _CHUNK))
            left -= len(chunk)
            yield chunk

    def _exactly(self, size: int) -> bytes:
        chunk = self.rfile.read(size)
        if len(chunk) != size:
            raise ConnectionResetError("the client went away in the middle of its request")
        return chunk


class Exchange:
    """One statement on its way in and its answer on its way out."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.parameters = handler._parameters()  # noqa: SLF001 -- its own helper
        self.query_id = self.parameters.get("query_id") or str(uuid.uuid4())
        self.tag = secrets.token_hex(8)
        self.body = handler.chunks()
        self.begun = False  # whether the answer's status line is out

    def run(self) -> None:
        """Answer; whatever goes wrong becomes ClickHouse's kind of error."""
        try:
            self._authenticate()
            self._execute()
        except QueryError as error:
            self._fail(error)
            if error.is_fatal:
                sys.stderr.write(f"the engine broke: {error.message}\n")
                os._exit(1)  # whoever supervises this process starts a sound one
        except encoding.UnknownEncoding as error:
            text = f"Unknown compression method: {error}."
            name = "UNKNOWN_COMPRESSION_METHOD"
            self._fail(query_error(UNKNOWN_COMPRESSION_METHOD, name, text))
        for _ in self.body:  # else the next request on this connection would begin in it
            pass

    def _authenticate(self) -> None:
        user, password = self._credentials()
        if user == USER and hmac.compare_digest(password.encode(), self.handler.password.encode()):
            return
        text = f"{user}: Authentication failed: password is incorrect, or there is no such user."
        raise query_error(AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", text)

    def _credentials(self) -> tuple[str, str]:
        headers = self.handler.headers
        if name := headers.get("X-ClickHouse-User"):
            return name, headers.get("X-ClickHouse-Key", "")
        kind, _, value = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value).decode().partition(":")
            except ValueError:
                return "", ""
            return name, password
        return self.parameters.get("user", "default"), self.parameters.get("password", "")

    def _execute(self) -> None:
        encoded_by = self.handler.headers.get("Content-Encoding", "").lower()
        plain = encoding.decompressed(self.body, encoded_by)
        plain = self._with_query(plain)
        beginning = _take(plain, _HEAD)
        headers = self.handler.headers
        database = self.parameters.get("database") or headers.get("X-ClickHouse-Database") or ""
        with self.handler.database.session(database, self._settings()) as session:
            if statement.starts_insert(beginning) and (insert := statement.parse_insert(beginning)):
                self._answer_summary(session.insert(insert, plain))
                return
            text = (beginning + b"".join(plain)).decode(errors="replace")
            self._answer_result(session, text)

    def _with_query(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The statement: the query parameter, and then the body."""
        content = self.handler.headers.get("Content-Type", "")
        if content.startswith("multipart/form-data"):
            body = self._form(content, b"".join(body))
        if query := self.parameters.get("query"):
            yield query.encode() + b"\n"
        yield from body

    def _form(self, content: str, body: bytes) -> Iterator[bytes]:
        head = f"Content-Type: {content}\r\n\r\n".encode()
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            if part.get_filename():
                text = "External tables are not part of the embedded ClickHouse."
                raise query_error(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", text)
            name = part.get_param("name", header="content-disposition")
            value = part.get_payload(decode=True)
            self.parameters[str(name)] = value.decode() if isinstance(value, bytes) else ""
        return iter(())

    def _settings(self) -> dict[str, str]:
        settings = {
            name: value
            for name, value in self.parameters.items()
            if name not in _OWN and not name.startswith("param_")
        }
        if self.handler.command == "GET":
            settings.setdefault("readonly", "2")  # as ClickHouse: GET changes nothing
        return settings

    def _answer_result(self, session: Session, text: str) -> None:
        default = (
            self.parameters.get("default_format")
            or self.handler.headers.get("X-ClickHouse-Format")
            or "TabSeparated"
        )
        bound = {
            name.removeprefix("param_"): value
            for name, value in self.parameters.items()
            if name.startswith("param_")
        }
        result = session.execute(text, default, bound)
        self._begin(result.summary, result.format)
        if second := next(result.rest, b""):
            self._stream(result, second)
        else:
            self._whole(result.first)

    def _answer_summary(self, summary: Summary) -> None:
        self._begin(summary, None)
        self._whole(b"")

    def _begin(self, summary: Summary, format_name: str | None) -> None:
        self.begun = True
        handler = self.handler
        handler.send_response(200)
        handler.send_header("Content-Type", _content_type(format_name))
        self._identify()
        if format_name is not None:
            handler.send_header("X-ClickHouse-Format", format_name)
        counts = {name: str(value) for name, value in asdict(summary).items()}
        handler.send_header("X-ClickHouse-Summary", json.dumps(counts))

    def _identify(self) -> None:
        handler = self.handler
        handler.send_header("X-ClickHouse-Server-Display-Name", "holdfast")
        handler.send_header("X-ClickHouse-Query-Id", self.query_id)
        handler.send_header("X-ClickHouse-Timezone", "UTC")
        handler.send_header("X-ClickHouse-Exception-Tag", self.tag)
        handler.send_header("Keep-Alive", f"timeout={_KEEP_ALIVE_SECONDS}")

    def _encoding(self) -> str:
        if self.parameters.get("enable_http_compression") not in {"1", "true"}:
            return ""
        return encoding.choose(self.handler.headers.get("Accept-Encoding", ""))

    def _whole(self, body: bytes) -> None:
        handler = self.handler
        if body and (chosen := self._encoding()):
            body = encoding.compress(body, chosen)
            handler.send_header("Content-Encoding", chosen)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
            handler.wfile.flush()

    def _stream(self, result: Result, second: bytes) -> None:
        handler = self.handler
        chosen = self._encoding()
        chosen = chosen if encoding.is_framed(chosen) else ""
        if chosen:
            handler.send_header("Content-Encoding", chosen)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for piece in (result.first, second):
                self._piece(piece, chosen)
            for piece in result.rest:
                self._piece(piece, chosen)
        except QueryError as error:
            self._piece(self._exception_block(error), chosen)
        handler.wfile.write(b"0\r\n\r\n")
        handler.wfile.flush()

    def _piece(self, body: bytes, chosen: str) -> None:
        if chosen:
            body = encoding.compress(body, chosen)
        self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))

    def _exception_block(self, error: QueryError) -> bytes:
        """How ClickHouse tells of an error after the status line is out."""
        message = f"{error.message}\n".encode()
        tag = self.tag.encode()
        return b"__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (
            tag,
            message,
            len(message),
            tag,
        )

    def _fail(self, error: QueryError) -> None:
        handler = self.handler
        body = f"{error.message} (version {handler.database.version})\n".encode()
        handler.send_response(error.status)
        handler.send_header("Content-Type", "text/plain; charset=UTF-8")
        handler.send_header("X-ClickHouse-Exception-Code", str(error.code))
        self._identify()
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
            handler.wfile.flush()


def _take(chunks: Iterator[bytes], size: int) -> bytes:
    """At least the first bytes of a body, as far as it has them."""
    taken = bytearray()
    for chunk in chunks:
        taken += chunk
        if len(taken) >= size:
            break
    return bytes(taken)


def _content_type(format_name: str | None) -> str:
    if format_name is None:
        return "text/plain; charset=UTF-8"
    if format_name.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if format_name.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    return "application/octet-stream"
