"""The process that owns the embedded ClickHouse and answers its HTTP interface on loopback.

    python -m config.stores.clickhouse.server DATA_FOLDER LISTENING_FD DATABASE...

The listening socket is inherited, so clients may connect while the engine still loads and while
it is being restarted: they only wait. The password comes in HOLDFAST_CLICKHOUSE_PASSWORD.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from config.stores.clickhouse.handler import Handler

_DRAIN_SECONDS = 10


class Server(ThreadingHTTPServer):
    """A thread for each connection, on a socket that somebody else opened."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, handler: type[Handler]) -> None:
        super().__init__(listening.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening


def main(folder: Path, listening_fd: int, names: list[str]) -> int:
    """Serve these databases until SIGTERM."""
    # Imported only here: half a gigabyte, which nothing but this process should load.
    from config.stores.clickhouse.database import Database

    listening = socket.socket(fileno=listening_fd)
    try:
        database = Database(folder)
        database.create(names)
    except RuntimeError as error:
        sys.stderr.write(f"cannot open: {error}\n")
        return 1
    password = os.environ.get("HOLDFAST_CLICKHOUSE_PASSWORD", "")
    handler = type("BoundHandler", (Handler,), {"database": database, "password": password})
    server = Server(listening, handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 1.0})
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    (folder / "VERSION").write_text(database.version)
    serving.start()
    asked.wait()
    server.shutdown()
    Handler.drain(_DRAIN_SECONDS)
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
