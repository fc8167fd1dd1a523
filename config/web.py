"""The web process as we start it: daphne, with its own command line, tuned for triggers.

`daphne config.asgi:application` serves the same; this spares a trigger most of what daphne does for
a request.
"""

from __future__ import annotations

from typing import Any

from daphne.cli import CommandLineInterface  # first: it installs the reactor
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from twisted.web.http import HTTPChannel

from config.asgi import triggers  # isort: skip  # makes the app registry, which the next one needs
from apps.api.trigger_channel import TriggerChannel


class Request(WebRequest):  # type: ignore[misc]  # neither daphne's nor Twisted's are typed
    """A request whose body only the application reads.

    Twisted would parse every form, and look into every content type for one, to no purpose.
    """

    def __init__(self, *channel: Any) -> None:
        super().__init__(*channel, parsePOSTFormSubmission=False)


class Factory(HTTPFactory):  # type: ignore[misc]
    """Connections that answer plain triggers themselves; HTTP/1.1 only, so without TLS."""

    def protocol(self) -> HTTPChannel:
        return TriggerChannel(triggers.ask) if triggers is not None else HTTPChannel()

    def buildProtocol(self, addr: Any) -> HTTPChannel:
        channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        return channel


class WebServer(Server):  # type: ignore[misc]
    """Daphne's server, which makes its factory when it begins to run, with ours instead."""

    @property
    def http_factory(self) -> Factory:
        return self._http_factory

    @http_factory.setter
    def http_factory(self, _: HTTPFactory) -> None:
        self._http_factory = Factory(self)


class CommandLine(CommandLineInterface):  # type: ignore[misc]
    """Daphne's command line."""

    server_class = WebServer


if __name__ == "__main__":
    CommandLine.entrypoint()
