"""What a program with a former SDK calls: run as one, it prints what it read as one line of JSON.

It uses only what has been there from the first release on, since it is imported with that SDK.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import holdfast
from holdfast import SyncHoldfastClient
from holdfast.client import BatchItem


def runs(client: SyncHoldfastClient, path: str) -> dict[str, Any]:
    """A run of each kind, to its end, and what lists say of them."""
    hello = client.trigger("hello", {"name": "alice"}, tags=["former"], idempotency_key="one")
    again = client.trigger("hello", {"name": "alice"}, idempotency_key="one")
    handles = {
        "parent": client.trigger("parent", {"n": 3}),
        "flaky": client.trigger("flaky", {"until": 2}),
        "nap": client.trigger("nap", 1.0),
        "durable": client.trigger("durable-order", path),
    }
    later = client.trigger("hello", {"name": "bob"}, delay="1h")
    client.runs.cancel(later.id)
    ended = {name: client.runs.wait(each.id, timeout=120) for name, each in handles.items()}
    first = client.runs.wait(hello.id, timeout=120)
    replayed = client.runs.wait(client.runs.replay(hello.id).id, timeout=120)
    listed = [run.id for run in client.runs.list(tag="former")]
    return {
        "cached": again.id == hello.id and again.is_cached,
        "outputs": {name: run.output for name, run in ended.items() if name != "durable"},
        "hello": [first.status, first.output, replayed.output],
        "durable": ended["durable"].output["greeting"],
        "canceled": client.runs.retrieve(later.id).status,
        "listed": hello.id in listed,
        "journal": [entry.kind for entry in client.runs.journal(handles["durable"].id)][:2],
    }


def batch(client: SyncHoldfastClient) -> list[Any]:
    items = [BatchItem(task="double", payload={"n": n}) for n in range(3)]
    made = client.batch_trigger(items)
    for run_id in client.batches.retrieve(made.id).runs:
        client.runs.wait(run_id, timeout=120)
    return [result.output for result in client.batches.results(made.id)]


def token(client: SyncHoldfastClient) -> dict[str, Any]:
    made = client.tokens.create(timeout="1h", tags=["former"])
    listed = [each.id for each in client.tokens.list(tags="former")]
    client.tokens.complete(made.id, {"yes": 1})
    found = client.tokens.retrieve(made.id)
    return {"status": found.status, "output": found.output, "listed": made.id in listed}


def schedule(client: SyncHoldfastClient) -> list[Any]:
    made = client.schedules.create("ask_any", deduplication_key="former", cron="0 5 * * *")
    off = client.schedules.deactivate(made.id)
    listed = [each.id for each in client.schedules.list().data]
    client.schedules.delete(made.id)
    return [made.task, made.generator.expression, off.active, made.id in listed]


def main() -> None:
    with SyncHoldfastClient() as client:
        told = {
            "sdk": holdfast.__file__,
            "runs": runs(client, sys.argv[1]),
            "batch": batch(client),
            "token": token(client),
            "schedule": schedule(client),
        }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
