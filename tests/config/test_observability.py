"""Errors and traces of the platform leave it when that is configured, and only then."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ROOT = Path(__file__).resolve().parent.parent.parent
_SECONDS = 60


class Collector:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> dict[str, str]:
        """The names of the spans, with the library that made each."""
        return {
            span.name: scoped.scope.name
            for path, body in self.requests
            if path == "/v1/traces"
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scoped in group.scope_spans
            for span in scoped.spans
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def run(code: str, **variables: str) -> str:
    """Run code in a process of its own, as a command of the platform would be."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=_ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ALLOWED_HOSTS": "testserver",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_even_imported_until_it_is_configured():
    heavy = ("sentry_sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")
    assert run(f"import sys; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_requests_and_queries_are_traced_and_probes_are_not(collector: Collector):
    run(
        # The asynchronous client, for daphne's requests are of that kind.
        "import asyncio; from django.test import AsyncClient\n"
        "c = AsyncClient(headers={'authorization': 'Bearer tr_prod_x'})\n"
        "async def main():\n"
        "    for path in ('/health/live', '/health/ready', '/metrics', '/api/v1/runs'):\n"
        "        await c.get(path)\n"
        "    await c.post('/otel/v1/logs')\n"
        "asyncio.run(main())",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.address}",
    )
    libraries = set(collector.spans.values())
    assert {
        "opentelemetry.instrumentation.django",
        "opentelemetry.instrumentation.psycopg",
        "opentelemetry.instrumentation.redis",
    } <= libraries
    pages = [name for name, library in collector.spans.items() if library.endswith(".django")]
    assert pages == ["GET api/v1/runs"]


def test_the_service_has_a_name_that_the_standard_variable_changes(collector: Collector):
    endpoint = f"http://{collector.address}"
    code = "from django.test import Client; Client().get('/api/v1/runs')"
    run(code, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    run(code, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_SERVICE_NAME="holdfast-web")
    names = [
        attribute.value.string_value
        for _, body in collector.requests
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for attribute in group.resource.attributes
        if attribute.key == "service.name"
    ]
    assert names == ["holdfast", "holdfast-web"]


def test_errors_go_to_sentry_without_anything_of_a_customers(collector: Collector):
    run(
        "import sentry_sdk\n"
        "def work(secret):\n"
        "    raise ValueError('it broke')\n"
        "try:\n"
        "    work('hunter2')\n"
        "except ValueError as error:\n"
        "    sentry_sdk.capture_exception(error)\n"
        "sentry_sdk.flush(10)",
        SENTRY_DSN=f"http://key@{collector.address}/1",
    )
    sent = b"".join(body for path, body in collector.requests if path == "/api/1/envelope/")
    assert b"it broke" in sent
    assert b"hunter2" not in sent.replace(b"work('hunter2')", b"")


def test_azure_without_its_package_is_told_at_once():
    done = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=_ROOT,
        env={**os.environ, "APPINSIGHTS_CONNECTION_STRING": "InstrumentationKey=x"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 1
    assert "needs django-otel: install requirements/prod.txt" in done.stderr
