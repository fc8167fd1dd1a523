"""Which bytes the connection answers itself, and that it answers the rest as ever."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.api.trigger_channel import read_call
from tests import factories

_HEAD = b"POST /api/v1/tasks/resize/trigger HTTP/1.1"


def request(*headers: bytes, first: bytes = _HEAD, body: bytes = b"{}") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([first, length, *headers, b"", body])


def test_a_plain_trigger_is_read_as_it_came():
    call = read_call(request(b"Authorization:Bearer x ", b"traceparent:  00-\xe9", body=b'{"a":1}'))

    assert call is not None
    assert call.task == "resize"
    assert dict(call.headers) == {
        "content-length": "7", "authorization": "Bearer x", "traceparent": "00-é",
    }  # fmt: skip
    assert call.body() == {"a": 1}


def test_a_name_of_a_task_is_decoded_as_in_any_path():
    call = read_call(request(first=b"POST /api/v1/tasks/a%2Fb%20%C3%A9/trigger HTTP/1.1"))

    assert call is not None
    assert call.task == "a/b é"


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],
        request() + b"P",
        request().replace(b"\r\n\r\n", b"\r\n"),
        request(first=_HEAD.replace(b"1.1", b"1.0")),
        request(first=_HEAD.replace(b"/trigger", b"/trigger?a=b")),
        request(first=_HEAD.replace(b"resize", b"a%0Ab")),
        request(first=_HEAD.replace(b"POST ", b"POST http://elsewhere")),
        request(b"Transfer-Encoding: chunked"),
        request(b"Content-Length: 2"),
        request(b"Expect: 100-continue"),
        request(b"Connection: close"),
        request(b"Upgrade: websocket"),
        request(b"Origin: https://acme.example"),
        request(b"Daphne-Root-Path: /elsewhere"),
        request(b"X_Under: score"),
        request(b"Space : before"),
        request(b"Folded: one", b" two"),
        request(b"Control: \x01"),
        request(b"no colon"),
        request(b"Long: " + b"x" * 16_384),
    ],
)
def test_what_is_not_plain_in_every_respect_is_left_to_daphne(data):
    assert read_call(data) is None


@pytest.fixture
def tenant():
    return factories.acme()


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        yield connection


def answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, Any]]]:
    """So many answers, in the order in which they come."""
    with connection.makefile("rb") as stream:
        return [_answer(stream) for _ in range(count)]


def _answer(stream) -> tuple[int, dict[str, Any]]:
    status = int(stream.readline().split()[1])
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, json.loads(stream.read(length))


@pytest.mark.django_db(transaction=True)
def test_requests_of_both_kinds_take_turns_on_one_connection(web, tenant):
    authorization = b"Authorization: Bearer " + tenant.keys["prod"].encode()
    short, long = request(authorization), request(authorization, b"TE: trailers")
    unknown = request(authorization, first=b"POST /api/v1/nowhere HTTP/1.1")
    with connected(web.url) as connection:
        # a whole one, two at once with another kind between them, and one that comes in two pieces
        connection.sendall(short)
        told = answers(connection, 1)
        connection.sendall(short + unknown + long)
        told += answers(connection, 3)
        connection.sendall(short[:30])
        connection.sendall(short[30:])
        told += answers(connection, 1)

    assert [status for status, _ in told] == [200, 200, 404, 200, 200]
    runs = [body["id"] for status, body in told if status == 200]
    assert len(set(runs)) == 4


@pytest.mark.django_db(transaction=True)
def test_a_refusal_leaves_the_connection_open(web, tenant):
    host = urlsplit(web.url).netloc
    connection = HTTPConnection(host, timeout=60)
    for key, status in (("tr_prod_wrong", 401), (tenant.keys["prod"], 200)):
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("POST", "/api/v1/tasks/resize/trigger", body="{}", headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
