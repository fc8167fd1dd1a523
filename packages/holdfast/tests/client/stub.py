"""A server in this process that speaks the API's contract from memory and records every request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SECRET_KEY = "tr_dev_stub"
ACCESS_TOKEN = "tr_pat_stub"
PROJECT = "proj_stub"
AT = "2026-11-24T05:00:00.000Z"

SUMMARY = {
    "isQueued": False,
    "isExecuting": False,
    "isWaiting": False,
    "isCompleted": True,
    "isSuccess": True,
    "isFailed": False,
    "isCancelled": False,
    "isTest": False,
    "createdAt": AT,
    "updatedAt": AT,
    "tags": [],
    "costInCents": 0,
    "baseCostInCents": 0,
    "durationMs": 1200,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A request as it arrived; `path` is still percent-encoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(slots=True, kw_only=True)
class Answer:
    """What to answer; a dict or list becomes JSON, None in `status` breaks the connection."""

    status: int | None = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Stub:
    """The state of the server; tests read `requests` and set what the routes answer."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Recorded] = []
        self.asked = threading.Event()
        self.scripted: list[Answer] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[dict[str, Any]]] = {}
        self.blobs: dict[str, tuple[bytes, str]] = {}
        self.batch_items: dict[str, dict[int, Any]] = {}
        self.sealed_after = 1
        self.variables: dict[str, dict[str, Any]] = {}
        self.deployment: dict[str, Any] = {}
        self.deployment_end: dict[str, Any] = {"status": "DEPLOYED", "version": "20261124.1"}
        self.token: str | None = ACCESS_TOKEN
        self.polls = 0
        self.refusals: dict[str, list[Answer]] = {}

    def add_run(self, run_id: str, status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
        base = {"id": run_id, "status": status, "taskIdentifier": "hello", **SUMMARY}
        self.runs[run_id] = base | {"depth": 0, "triggerFunction": "trigger"} | fields
        return self.runs[run_id]

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so, whatever they are."""
        self.scripted.extend(answers)

    def of(self, method: str, pattern: str) -> list[Recorded]:
        """The recorded requests of one kind."""
        return [r for r in self.requests if r.method == method and re.search(pattern, r.path)]

    def answer(self, request: Recorded) -> Answer:
        self.requests.append(request)
        self.asked.set()
        if self.scripted:
            return self.scripted.pop(0)
        for method, pattern, route in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if method == request.method and match:
                if refusal := self._refusal(request):
                    return refusal
                return route(self, request, *[unquote(part) for part in match.groups()])
        return Answer(status=404, body={"error": "Not found", "code": "not_found"})

    def _refusal(self, request: Recorded) -> Answer | None:
        is_open = re.search(r"^/blob|authorization-code|/token$", request.path)
        given = request.headers.get("authorization", "")
        if is_open or given in (f"Bearer {SECRET_KEY}", f"Bearer {ACCESS_TOKEN}"):
            return None
        return Answer(status=401, body={"error": "Invalid or Missing API key"})


def trigger(stub: Stub, request: Recorded, task: str) -> Answer:
    run_id = f"run_{len(stub.runs) + 1}"
    stub.add_run(run_id, taskIdentifier=task, payload=request.json.get("payload"))
    body: dict[str, Any] = {"id": run_id, "isCached": False}
    if request.json["options"].get("resumeParentOnCompletion"):
        body["waitpointId"] = f"waitpoint_{run_id}"
    return Answer(body=body, headers={"x-trigger-jwt": "jwt-of-the-run"})


def trigger_together(stub: Stub, request: Recorded) -> Answer:
    """Each call as if alone; what `stub.refusals` holds for its task comes first."""
    answers = []
    for call in request.json["calls"]:
        alone = Recorded(
            method="POST", path="", query={}, headers=call["headers"],
            content=json.dumps(call).encode(),
        )  # fmt: skip
        refusals = stub.refusals.get(call["task"])
        answer = refusals.pop(0) if refusals else trigger(stub, alone, call["task"])
        answers.append({"status": answer.status, "headers": answer.headers, "body": answer.body})
    return Answer(body={"answers": answers})


def create_batch(stub: Stub, request: Recorded) -> Answer:
    batch_id = f"batch_{len(stub.batch_items) + 1}"
    stub.batch_items[batch_id] = {}
    return Answer(
        status=202,
        body={"id": batch_id, "runCount": request.json["runCount"], "isCached": False},
    )


def add_items(stub: Stub, request: Recorded, batch_id: str) -> Answer:
    items = stub.batch_items[batch_id]
    for line in request.content.splitlines():
        item = json.loads(line)
        items[item["index"]] = item
    stub.sealed_after -= 1
    return Answer(
        body={
            "id": batch_id,
            "itemsAccepted": len(items),
            "itemsDeduplicated": 0,
            "sealed": stub.sealed_after <= 0,
            "enqueuedCount": len(items),
            "expectedCount": len(items) + 1,
        }
    )


def retrieve_batch(stub: Stub, _request: Recorded, batch_id: str) -> Answer:
    items = stub.batch_items[batch_id]
    return Answer(
        body={
            "id": batch_id,
            "status": "COMPLETED",
            "createdAt": AT,
            "updatedAt": AT,
            "runCount": len(items),
            "runs": [f"run_{index}" for index in sorted(items)],
            "processing": {"errors": []},
        }
    )


def retrieve_run(stub: Stub, _request: Recorded, run_id: str) -> Answer:
    run = stub.runs.get(run_id)
    if run is None:
        return Answer(
            status=404,
            body={"error": f"No run {run_id}", "code": "not_found"},
            headers={"x-should-retry": "false"},
        )
    statuses = run.pop("then", [])
    answer = dict(run)
    if statuses:
        run["status"], run["then"] = statuses[0], statuses[1:]
    return Answer(body=answer)


def list_runs(stub: Stub, request: Recorded) -> Answer:
    size = int(request.query.get("page[size]", 2))
    wanted = request.query.get("filter[status]")
    runs = [r for r in stub.runs.values() if not wanted or r["status"] in wanted.split(",")]
    start = int(request.query.get("page[after]", 0))
    pagination = {"next": str(start + size)} if start + size < len(runs) else {}
    return Answer(body={"data": runs[start : start + size], "pagination": pagination})


def cancel(stub: Stub, _request: Recorded, run_id: str) -> Answer:
    stub.runs[run_id]["status"] = "CANCELED"
    return Answer(body={"id": run_id})


def replay(stub: Stub, _request: Recorded, run_id: str) -> Answer:
    stub.add_run(f"{run_id}_again")
    return Answer(body={"id": f"{run_id}_again"})


def reschedule(stub: Stub, request: Recorded, run_id: str) -> Answer:
    return Answer(body=stub.runs[run_id] | {"status": "DELAYED"})


def metadata(stub: Stub, request: Recorded, run_id: str) -> Answer:
    run = stub.runs[run_id]
    if request.method == "PUT" and "metadata" in request.json:
        run["metadata"] = request.json["metadata"]
    return Answer(body={"metadata": run.get("metadata", {})})


def result(stub: Stub, _request: Recorded, run_id: str) -> Answer:
    if run_id not in stub.results:
        return Answer(
            status=404, body={"error": "Not finished"}, headers={"x-should-retry": "false"}
        )
    return Answer(body=stub.results[run_id])


def logs(stub: Stub, request: Recorded, run_id: str) -> Answer:
    lines = stub.logs.get(run_id, [])
    start = int(request.query.get("page[after]", 0))
    end = min(start + 2, len(lines))
    pagination = {"latest": str(end)} | ({"next": str(end)} if end < len(lines) else {})
    return Answer(body={"data": lines[start:end], "pagination": pagination})


def put_packet(stub: Stub, _request: Recorded, path: str) -> Answer:
    return Answer(body={"presignedUrl": f"{stub.url}/blob/{path}?sig=1", "storagePath": path})


def get_packet(stub: Stub, _request: Recorded, path: str) -> Answer:
    return Answer(body={"presignedUrl": f"/blob/{path}?sig=1"})


def put_blob(stub: Stub, request: Recorded, path: str) -> Answer:
    stub.blobs[path] = (request.content, request.headers.get("content-type", ""))
    return Answer()


def get_blob(stub: Stub, _request: Recorded, path: str) -> Answer:
    content, kind = stub.blobs[path]
    return Answer(body=content, headers={"content-type": kind})


def list_variables(stub: Stub, _request: Recorded, _ref: str, _env: str) -> Answer:
    shown = [v | {"value": "" if v["isSecret"] else v["value"]} for v in stub.variables.values()]
    return Answer(body=shown)


def create_variable(stub: Stub, request: Recorded, _ref: str, _env: str) -> Answer:
    body = request.json
    stub.variables[body["name"]] = {"isSecret": False, **body}
    return Answer(body={"success": True})


def import_variables(stub: Stub, request: Recorded, _ref: str, _env: str) -> Answer:
    for name, value in request.json["variables"].items():
        is_secret = request.json.get("isSecret", False)
        stub.variables[name] = {"name": name, "value": value, "isSecret": is_secret}
    return Answer(body={"success": True})


def one_variable(stub: Stub, request: Recorded, _ref: str, _env: str, name: str) -> Answer:
    if name not in stub.variables:
        return Answer(status=404, body={"error": f"No variable {name}", "code": "not_found"})
    if request.method == "DELETE":
        del stub.variables[name]
    elif request.method == "PUT":
        stub.variables[name]["value"] = request.json["value"]
    else:
        return Answer(body=stub.variables[name])
    return Answer(body={"success": True})


def whoami(_stub: Stub, request: Recorded) -> Answer:
    if request.headers["authorization"] != f"Bearer {ACCESS_TOKEN}":
        return Answer(status=401, body={"error": "Invalid or Missing Access Token"})
    body = {"userId": "user_1", "email": "alice@example.com", "dashboardUrl": "http://stub/"}
    return Answer(body=body)


def authorization_code(stub: Stub, _request: Recorded) -> Answer:
    return Answer(body={"authorizationCode": "code", "url": f"{stub.url}/account/code"})


def token(stub: Stub, _request: Recorded) -> Answer:
    stub.polls += 1
    if stub.polls < 2 or stub.token is None:
        return Answer(body={"token": None})
    return Answer(body={"token": {"token": stub.token, "obfuscatedToken": "tr_pat_…"}})


def environment(stub: Stub, _request: Recorded, ref: str, env: str) -> Answer:
    if ref != PROJECT:
        return Answer(status=404, body={"error": "Not found", "code": "not_found"})
    body = {"apiKey": SECRET_KEY, "name": "Stub", "apiUrl": stub.url, "projectId": ref}
    return Answer(body=body)


def register(stub: Stub, request: Recorded, _ref: str) -> Answer:
    content_hash = request.json["metadata"]["contentHash"]
    number = len(stub.of("POST", "background-workers"))
    body = {"id": "worker_1", "version": f"20261124.{number}", "contentHash": content_hash}
    return Answer(body=body)


def create_deployment(stub: Stub, request: Recorded) -> Answer:
    stub.deployment = {"id": "deployment_1", "shortCode": "abc", "status": "PENDING", "log": ""}
    body = {"id": "deployment_1", "shortCode": "abc"}
    return Answer(body=body | {"uploadUrl": "/api/v1/deployments/deployment_1/archive"})


def upload(stub: Stub, request: Recorded, _id: str) -> Answer:
    stub.deployment["archive"] = request.content
    return Answer(body={})


def finalize(stub: Stub, request: Recorded, _id: str) -> Answer:
    stub.deployment |= {"status": "BUILDING", "log": "Installing requirements\n"}
    return Answer(body={})


def retrieve_deployment(stub: Stub, _request: Recorded, deployment_id: str) -> Answer:
    body = {k: v for k, v in stub.deployment.items() if k != "archive"}
    stub.deployment |= stub.deployment_end
    return Answer(body=body)


def list_deployments(stub: Stub, _request: Recorded) -> Answer:
    body = {k: v for k, v in stub.deployment.items() if k != "archive"}
    return Answer(body={"data": [body] if body else [], "pagination": {}})


def promote(_stub: Stub, _request: Recorded, version: str) -> Answer:
    return Answer(body={"id": "deployment_1", "version": version, "shortCode": "abc"})


def tags(_stub: Stub, _request: Recorded, _run_id: str) -> Answer:
    return Answer(body={"message": "ok"})


def events(_stub: Stub, _request: Recorded, run_id: str) -> Answer:
    return Answer(body={"events": [{"run": run_id, "name": "created"}]})


def reset_key(_stub: Stub, _request: Recorded, _key: str) -> Answer:
    return Answer(body={"id": _key})


Route = Callable[..., Answer]
ONE = "([^/]+)"
ROUTES: list[tuple[str, str, Route]] = [
    ("POST", f"/api/v1/tasks/{ONE}/trigger", trigger),
    ("POST", "/api/v1/triggers", trigger_together),
    ("POST", "/api/v3/batches", create_batch),
    ("POST", f"/api/v3/batches/{ONE}/items", add_items),
    ("GET", f"/api/v2/batches/{ONE}", retrieve_batch),
    ("GET", f"/api/v3/runs/{ONE}", retrieve_run),
    ("GET", "/api/v1/runs", list_runs),
    ("POST", f"/api/v2/runs/{ONE}/cancel", cancel),
    ("POST", f"/api/v1/runs/{ONE}/replay", replay),
    ("POST", f"/api/v1/runs/{ONE}/reschedule", reschedule),
    ("POST", f"/api/v1/runs/{ONE}/tags", tags),
    ("GET", f"/api/v1/runs/{ONE}/metadata", metadata),
    ("PUT", f"/api/v1/runs/{ONE}/metadata", metadata),
    ("GET", f"/api/v1/runs/{ONE}/result", result),
    ("GET", f"/api/v1/runs/{ONE}/events", events),
    ("GET", f"/api/v1/runs/{ONE}/logs", logs),
    ("POST", f"/api/v1/idempotencyKeys/{ONE}/reset", reset_key),
    ("PUT", f"/api/v2/packets/{ONE}", put_packet),
    ("GET", f"/api/v1/packets/{ONE}", get_packet),
    ("PUT", "/blob/(.+)", put_blob),
    ("GET", "/blob/(.+)", get_blob),
    ("GET", f"/api/v1/projects/{ONE}/envvars/{ONE}", list_variables),
    ("POST", f"/api/v1/projects/{ONE}/envvars/{ONE}", create_variable),
    ("POST", f"/api/v1/projects/{ONE}/envvars/{ONE}/import", import_variables),
    ("GET", f"/api/v1/projects/{ONE}/envvars/{ONE}/{ONE}", one_variable),
    ("PUT", f"/api/v1/projects/{ONE}/envvars/{ONE}/{ONE}", one_variable),
    ("DELETE", f"/api/v1/projects/{ONE}/envvars/{ONE}/{ONE}", one_variable),
    ("GET", "/api/v2/whoami", whoami),
    ("POST", "/api/v1/authorization-code", authorization_code),
    ("POST", "/api/v1/token", token),
    ("POST", f"/api/v1/projects/{ONE}/background-workers", register),
    ("GET", f"/api/v1/projects/{ONE}/{ONE}", environment),
    ("POST", "/api/v1/deployments", create_deployment),
    ("GET", "/api/v1/deployments", list_deployments),
    ("GET", "/api/v1/deployments/current", retrieve_deployment),
    ("PUT", f"/api/v1/deployments/{ONE}/archive", upload),
    ("POST", f"/api/v1/deployments/{ONE}/finalize", finalize),
    ("POST", f"/api/v1/deployments/{ONE}/promote", promote),
    ("GET", f"/api/v1/deployments/{ONE}", retrieve_deployment),
]


@contextmanager
def serve() -> Iterator[Stub]:
    """A stub that listens on a free port."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            request = Recorded(
                method=self.command,
                path=parts.path,
                query=dict(parse_qsl(parts.query)),
                headers={name.lower(): value for name, value in self.headers.items()},
                content=self.rfile.read(int(self.headers.get("content-length", 0))),
            )
            answer = stub.answer(request)
            if answer.status is None:
                self.close_connection = True
                return
            body = answer.body
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
