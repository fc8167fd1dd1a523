"""A stand-in for GitHub on loopback: the pages and answers of its OAuth dance."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID = "holdfast-client"
CLIENT_SECRET = "holdfast-secret"


@dataclass
class GitHub:
    """Who is signed in at GitHub, and what Holdfast has asked of it."""

    url: str
    login: str = "dora"
    name: str = "Dora D."
    uid: int = 4711
    emails: list[dict[str, Any]] = field(
        default_factory=lambda: [{"email": "dora@example.com", "primary": True, "verified": True}]
    )
    codes: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)


@contextmanager
def github() -> Iterator[GitHub]:
    """A GitHub for the length of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.state = GitHub(url=f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.state  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    @property
    def github(self) -> GitHub:
        return self.server.state  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/login/oauth/authorize":
            self._authorize(asked)
        elif self.headers.get("authorization", "").removeprefix("token ") not in self.github.tokens:
            self._answer(401, {"message": "Bad credentials"})
        elif parts.path == "/api/v3/user":
            user = {"id": self.github.uid, "login": self.github.login, "name": self.github.name}
            self._answer(200, {**user, "email": None})
        elif parts.path == "/api/v3/user/emails":
            self._answer(200, self.github.emails)
        else:
            self._answer(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", "0"))
        body = {
            name: values[0] for name, values in parse_qs(self.rfile.read(size).decode()).items()
        }
        code = body.get("code", "")
        is_known = code in self.github.codes and body.get("client_secret") == CLIENT_SECRET
        if self.path != "/login/oauth/access_token" or not is_known:
            self._answer(200, {"error": "bad_verification_code"})
            return
        self.github.codes.discard(code)
        token = secrets.token_hex(8)
        self.github.tokens.add(token)
        self._answer(200, {"access_token": token, "token_type": "bearer", "scope": "user:email"})

    def _authorize(self, asked: dict[str, str]) -> None:
        """The page on which one lets an application in, as two links."""
        assert asked["client_id"] == CLIENT_ID
        code = secrets.token_hex(8)
        self.github.codes.add(code)
        back, state = asked["redirect_uri"], asked["state"]
        yes = urlencode({"code": code, "state": state})
        no = urlencode({"error": "access_denied", "state": state})
        page = (
            "<!doctype html><title>GitHub</title><link rel=icon href='data:,'>"
            f"<a href='{back}?{yes}'>Authorize</a> <a href='{back}?{no}'>Cancel</a>"
        )
        self._send(200, "text/html", page.encode())

    def _answer(self, status: int, body: object) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
