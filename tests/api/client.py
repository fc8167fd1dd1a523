"""A caller of the API in this process: what it sends, with which credential."""

from __future__ import annotations

import json
from typing import Any

from django.http.response import HttpResponseBase
from django.test import Client

API_VERSION = "2025-07-16"


class Answer:
    """A response, with its body as JSON."""

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers

    @property
    def content(self) -> bytes:
        return self.response.content  # type: ignore[attr-defined,no-any-return]

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """The message of a refusal, and nothing but a refusal."""
        assert self.status >= 400, (self.status, self.content)
        return str(self.body["error"])

    def ok(self) -> Any:
        """The body of a success, and nothing but a success."""
        assert 200 <= self.status < 300, (self.status, self.content)
        return self.body


class Api:
    """Sends JSON as the public clients do."""

    def __init__(self, token: str | None, **headers: str) -> None:
        self._client = Client(raise_request_exception=True)
        self._headers = {"x-trigger-api-version": API_VERSION, **headers}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"

    def get(self, path: str, query: dict[str, Any] | None = None, **headers: str) -> Answer:
        return self.send("GET", path, query=query, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("POST", path, body=body, headers=headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("PUT", path, body=body, headers=headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("PATCH", path, body=body, headers=headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.send("DELETE", path, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {**self._headers, **{k.replace("_", "-"): v for k, v in (headers or {}).items()}}
        kind = sent.pop("content-type", "application/json")
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        return Answer(
            self._client.generic(
                method, path, raw, kind, query_params=query, headers=sent, CONTENT_TYPE=kind
            )
        )
