"""Runs: look at them, wait for them, act on them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from holdfast import packets
from holdfast._http import AsyncTransport, Call, Flow, SyncTransport
from holdfast._wire import Pause, Response
from holdfast.api_errors import NotFoundError
from holdfast.client import triggers
from holdfast.client.results import (
    Batch,
    Page,
    Run,
    RunHandle,
    RunLog,
    RunResult,
    RunSummary,
    build,
    read,
    read_page,
)
from holdfast.client.surface import Group, operation, paged
from holdfast.client.triggers import Duration, TriggerOptions
from holdfast.protocol import Entry

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)

# `list` is also the name of an operation, which hides the built-in one inside a group.
Events: TypeAlias = list[dict[str, Any]]

_LONGEST_POLL_SECONDS = 1.0
_JOURNAL_PAGE = 500
_RESULTS_PER_PAGE = 250


class RunFilters(TypedDict, total=False):
    """Which runs a list has; every key is optional.

    Attributes:
        status: One or more statuses.
        task: One or more task ids.
        version: One or more versions.
        tag: One or more tags.
        queue: ``task/<id>`` or the name of a custom queue.
        machine: One or more presets.
        batch: The id of a batch.
        schedule: The id of the schedule that started them.
        bulk_action: The id of the bulk action that canceled or made them.
        is_test: Only tests, or only others.
        period: How far back, such as ``7d``.
        created_from: Not older than this.
        created_to: Not younger than this.
    """

    status: str | Sequence[str]
    task: str | Sequence[str]
    version: str | Sequence[str]
    tag: str | Sequence[str]
    queue: str | Sequence[str]
    machine: str | Sequence[str]
    batch: str
    schedule: str
    bulk_action: str
    is_test: bool
    period: str
    created_from: datetime
    created_to: datetime


_FILTERS = {
    "status": "filter[status]",
    "task": "filter[taskIdentifier]",
    "version": "filter[version]",
    "tag": "filter[tag]",
    "queue": "filter[queue]",
    "machine": "filter[machine]",
    "batch": "filter[batch]",
    "schedule": "filter[schedule]",
    "bulk_action": "filter[bulkAction]",
    "is_test": "filter[isTest]",
    "period": "filter[createdAt][period]",
    "created_from": "filter[createdAt][from]",
    "created_to": "filter[createdAt][to]",
}


class Runs(Group[Transport]):
    """``client.runs``."""

    @operation
    def retrieve(self, run_id: str) -> Flow[Run]:
        """A run with its payload, output and family."""
        return self._retrieve(run_id)

    @paged
    def list(
        self, *, size: int | None = None, after: str | None = None, **filters: Unpack[RunFilters]
    ) -> Call[Page[RunSummary]]:
        """Runs, newest first."""
        query: dict[str, Any] = {"page[size]": size, "page[after]": after}
        for name, value in filters.items():
            query[_FILTERS[name]] = value.isoformat() if isinstance(value, datetime) else value
        return Call(method="GET", path="/api/v1/runs", query=query, parse=read_page(RunSummary))

    @operation
    def cancel(self, run_id: str) -> Flow[None]:
        """Stop a run; one that has ended stays as it is."""
        return self._send(
            Call(method="POST", path=f"/api/v2/runs/{_quoted(run_id)}/cancel", parse=_nothing)
        )

    @operation
    def send_input(
        self, run_id: str, key: str, data: Any = None, *, part: str | None = None
    ) -> Flow[None]:
        """Send an item to an input of a run, for its ``wait.for_input(key)``.

        Args:
            run_id: The run; it may wait for the input already, or later.
            key: The input's name.
            data: What `holdfast.packets.encode` takes; at most 1 MiB encoded.
            part: A name for the item: sent again under the same name, it is kept once. By default
                this call has one, so that its own retries send nothing twice.

        Raises:
            ApiError: There is no such run, it has ended (400), or it has been sent all that it may.
        """
        packet = packets.encode(data)
        return self._send(
            Call(
                method="POST",
                path=f"/realtime/v1/streams/{_quoted(run_id)}/input/{_quoted(key)}",
                body={"data": packet.data, "dataType": packet.data_type} if packet.data else {},
                headers={"X-Part-Id": part or uuid.uuid4().hex},
                parse=_nothing,
            )
        )

    @operation
    def replay(
        self, run_id: str, payload: Any = None, **overrides: Unpack[TriggerOptions]
    ) -> Flow[RunHandle]:
        """Start a new run of the same task; what is not overridden is as it was."""
        return self._send(
            Call(
                method="POST",
                path=_path(run_id, "replay"),
                body=triggers.replay_body(payload, overrides) or None,
                parse=read(RunHandle),
            )
        )

    @operation
    def reschedule(self, run_id: str, *, delay: Duration | datetime) -> Flow[Run]:
        """Start a delayed run at another time."""
        return self._send(
            Call(
                method="POST",
                path=_path(run_id, "reschedule"),
                body={"delay": triggers.moment_text(delay)},
                parse=read(Run),
            )
        )

    @operation
    def add_tags(self, run_id: str, tags: str | Sequence[str]) -> Flow[None]:
        """Add tags to a run."""
        added = [tags] if isinstance(tags, str) else [*tags]
        return self._send(
            Call(method="POST", path=_path(run_id, "tags"), body={"tags": added}, parse=_nothing)
        )

    @operation
    def metadata(self, run_id: str) -> Flow[dict[str, Any]]:
        """A run's metadata."""
        return self._send(
            Call(method="GET", path=_path(run_id, "metadata"), parse=_field("metadata"))
        )

    @operation
    def change_metadata(
        self,
        run_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        operations: Sequence[Mapping[str, Any]] = (),
        parent_operations: Sequence[Mapping[str, Any]] = (),
        root_operations: Sequence[Mapping[str, Any]] = (),
    ) -> Flow[dict[str, Any]]:
        """Replace a run's metadata, or apply operations in order; returns what it is now."""
        body = {
            "metadata": metadata,
            "operations": [*operations],
            "parentOperations": [*parent_operations],
            "rootOperations": [*root_operations],
        }
        return self._send(
            Call(
                method="PUT",
                path=_path(run_id, "metadata"),
                body={name: value for name, value in body.items() if value},
                parse=_field("metadata"),
            )
        )

    @operation
    def result(self, run_id: str) -> Flow[RunResult | None]:
        """How a run ended, or None while it has not."""
        return self._result(run_id)

    @operation
    def events(self, run_id: str) -> Flow[Events]:
        """What happened to a run, oldest first."""
        return self._send(Call(method="GET", path=_path(run_id, "events"), parse=_field("events")))

    @paged
    def logs(self, run_id: str, *, size: int | None = None, after: str | None = None
             ) -> Call[Page[RunLog]]:  # fmt: skip
        """What a run logged, oldest first."""
        return Call(
            method="GET",
            path=_path(run_id, "logs"),
            query={"page[size]": size, "page[after]": after},
            parse=read_page(RunLog),
        )

    @paged
    def journal(self, run_id: str, *, size: int | None = None, after: str | None = None
                ) -> Call[Page[Entry]]:  # fmt: skip
        """What a durable run has done, oldest first."""
        return Call(
            method="GET",
            path=_path(run_id, "journal"),
            query={"page[size]": size or _JOURNAL_PAGE, "page[after]": after},
            parse=_journal_page,
        )

    @operation
    def fork(self, run_id: str, *, start: str, version: str | None = None) -> Flow[RunHandle]:
        """Start a new run with the journal of a durable one up to an entry.

        Args:
            run_id: The run, finished or not.
            start: The position of the entry that is done again, or the name of a step.
            version: The version to run on; the current one by default.
        """
        body = {"from": start} | ({"version": version} if version else {})
        return self._send(
            Call(method="POST", path=_path(run_id, "fork"), body=body, parse=read(RunHandle))
        )

    @operation
    def wait(
        self, run_id: str, *, timeout: float | None = None, every: float = _LONGEST_POLL_SECONDS
    ) -> Flow[Run]:
        """The run once it has ended; raises TimeoutError after `timeout` seconds."""
        return self._wait(run_id, timeout=timeout, every=every)

    @operation
    def payload(self, run_id: str) -> Flow[Any]:
        """A run's payload, from object storage when it is large."""
        return self._payload(run_id)

    def _payload(self, run_id: str) -> Flow[Any]:
        run = yield from self._read(run_id)
        if run.payload is None and run.payload_presigned_url:
            url = run.payload_presigned_url
            return (yield from triggers.download_presigned(self._settings, url))
        return run.payload

    def _read(self, run_id: str) -> Flow[Run]:
        return self._send(
            Call(method="GET", path=f"/api/v3/runs/{_quoted(run_id)}", parse=read(Run))
        )

    def _retrieve(self, run_id: str) -> Flow[Run]:
        run = yield from self._read(run_id)
        if run.output is None and run.output_presigned_url:
            output = yield from triggers.download_presigned(
                self._settings, run.output_presigned_url
            )
            return replace(run, output=output)
        return run

    def _result(self, run_id: str) -> Flow[RunResult | None]:
        try:
            body = yield from self._send(
                Call(method="GET", path=_path(run_id, "result"), parse=lambda r: r.json())
            )
        except NotFoundError:
            return None
        result = build(RunResult, body)
        if result.output_type == packets.STORE and result.output:
            stored = yield from triggers.download(self._settings, result.output)
            return replace(result, output=stored)
        return replace(result, output=packets.decode(result.output, result.output_type))

    def _wait(self, run_id: str, *, timeout: float | None, every: float) -> Flow[Run]:
        """Ask often at first and then once per `every` seconds: short runs are answered fast."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = min(0.05, every)
        while True:
            run = yield from self._retrieve(run_id)
            if run.is_final:
                return run
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"Run {run_id} is {run.status} after {timeout:g} seconds.")
            yield Pause(seconds=pause)
            pause = min(pause * 1.5, every)


class Batches(Group[Transport]):
    """``client.batches``."""

    @operation
    def retrieve(self, batch_id: str) -> Flow[Batch]:
        """A batch and the ids of its runs."""
        return self._send(
            Call(method="GET", path=f"/api/v2/batches/{_quoted(batch_id)}", parse=read(Batch))
        )

    @operation
    def results(self, batch_id: str) -> Flow[list[RunResult]]:
        """How the items of a batch ended, in their order; those that have not are left out.

        An item that could not be started has a result, too: its `error` says why, and its `id` is
        that of the batch with the item's index.
        """
        return self._results(batch_id)

    def _results(self, batch_id: str) -> Flow[list[RunResult]]:
        """Page by page, so that neither side has all answers in one."""
        results: list[RunResult] = []
        after: int | None = None
        while True:
            body = yield from self._send(
                Call(
                    method="GET",
                    path=f"/api/v1/batches/{_quoted(batch_id)}/results",
                    query={"page[size]": _RESULTS_PER_PAGE, "page[after]": after},
                    parse=lambda response: response.json(),
                )
            )
            for result in build(list[RunResult], body["items"]):
                results.append((yield from self._decoded(result)))
            after = (body.get("pagination") or {}).get("next")
            if after is None:
                return results

    def _decoded(self, result: RunResult) -> Flow[RunResult]:
        if result.output_type == packets.STORE and result.output:
            stored = yield from triggers.download(self._settings, result.output)
            return replace(result, output=stored)
        return replace(result, output=packets.decode(result.output, result.output_type))


class IdempotencyKeys(Group[Transport]):
    """``client.idempotency_keys``."""

    @operation
    def reset(self, task: str, key: str) -> Flow[None]:
        """Forget a global key, so that the next trigger with it starts a run."""
        return self._send(
            Call(
                method="POST",
                path=f"/api/v1/idempotencyKeys/{triggers.idempotency_hash(key)}/reset",
                body={"taskIdentifier": task},
                parse=_nothing,
            )
        )


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _path(run_id: str, verb: str) -> str:
    return f"/api/v1/runs/{_quoted(run_id)}/{verb}"


def _nothing(_response: Any) -> None:
    return None


def _field(name: str) -> Any:
    """A parser that takes one field of the body."""
    return lambda response: response.json()[name]


def _journal_page(response: Response) -> Page[Entry]:
    body = response.json()
    data = [
        Entry(**{_ENTRY_KEYS.get(name, name): value for name, value in entry.items()})
        for entry in body["data"]
    ]
    return Page(data=data, next=(body.get("pagination") or {}).get("next"))


_ENTRY_KEYS = {"outputType": "output_type", "startedMs": "started_ms", "tookMs": "took_ms"}
