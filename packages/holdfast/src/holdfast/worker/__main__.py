"""`python -m holdfast.worker`: a worker from its environment, as providers start it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from holdfast._http import DEFAULT_API_URL
from holdfast.worker import ConnectionRefused, ProjectFailed, WorkerEvent, WorkerOptions, serve

EXIT_REFUSED = 2
EXIT_PROJECT_FAILED = 3

_log = logging.getLogger("holdfast.worker")


def main(arguments: list[str] | None = None) -> int:
    """Run a worker to its end.

    Args:
        arguments: The command line; None means this process's own.

    Returns:
        0 when it was drained or stopped, 2 when the server refused it, 3 when the project could
        not be imported.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = _options(_parser().parse_args(arguments))
    if not options.secret_key:
        _log.error("HOLDFAST_SECRET_KEY is not set")
        return EXIT_REFUSED
    try:
        asyncio.run(serve(options))
    except ConnectionRefused as error:
        _log.error("refused (%s): %s", error.code, error)
        return EXIT_REFUSED
    except ProjectFailed as error:
        _log.error("the project could not be imported:\n%s", error)
        return EXIT_PROJECT_FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m holdfast.worker", description=__doc__)
    parser.add_argument("--root", default=".", help="the project's folder (default: here)")
    parser.add_argument("--api-url", default=env("HOLDFAST_API_URL", DEFAULT_API_URL))
    parser.add_argument("--version", default=env("HOLDFAST_VERSION", ""), help="of the code")
    parser.add_argument(
        "--capacity",
        type=int,
        default=int(env("HOLDFAST_CAPACITY") or os.cpu_count() or 1),
        help="runs at once (default: the number of CPUs)",
    )
    parser.add_argument("--pool", default=env("HOLDFAST_POOL", ""))
    parser.add_argument("--machine", default=env("HOLDFAST_MACHINE", ""))
    parser.add_argument("--instance", default=env("HOLDFAST_INSTANCE"))
    parser.add_argument("--drain-seconds", type=float, default=None)
    parser.add_argument("--echo", action="store_true", help="show what runs print")
    return parser


def _options(given: argparse.Namespace) -> WorkerOptions:
    return WorkerOptions(
        root=Path(given.root).resolve(),
        api_url=given.api_url,
        secret_key=os.environ.get("HOLDFAST_SECRET_KEY", ""),
        version=given.version,
        capacity=given.capacity,
        pool=given.pool,
        machine=given.machine,
        instance=given.instance,
        drain_seconds=given.drain_seconds,
        echo=given.echo,
        on_event=_report,
    )


def _report(event: WorkerEvent) -> None:
    """Log what is rare; runs are the telemetry's to tell."""
    if not event.run:
        _log.info("%s %s", event.kind, event.detail)
    elif event.kind == "failed":
        _log.warning("run %s of %s failed: %s", event.run, event.task, event.detail)


if __name__ == "__main__":
    sys.exit(main())
