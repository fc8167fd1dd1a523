"""Large packets in object storage."""

from __future__ import annotations

import uuid
from typing import TypeVar
from urllib.parse import quote, urljoin

from holdfast import packets
from holdfast._http import AsyncTransport, Call, Flow, SyncTransport, fetch
from holdfast.client.surface import Group, operation

Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class Packets(Group[Transport]):
    """``client.packets``."""

    @operation
    def store(self, packet: packets.Packet, *, name: str = "packet") -> Flow[packets.Packet]:
        """Keep a packet.

        Args:
            packet: Any that has data.
            name: A folder for it.

        Returns:
            A packet that stands for it, of type ``application/store``.
        """
        return self._store(packet, name)

    @operation
    def load(self, packet: packets.Packet) -> Flow[packets.Packet]:
        """The packet that another of type ``application/store`` stands for."""
        return self._load(packet)

    def _store(self, packet: packets.Packet, name: str) -> Flow[packets.Packet]:
        key = quote(f"{name}/{uuid.uuid4().hex}.json", safe="")
        place = yield from self._send(
            Call(
                method="PUT", path=f"/api/v2/packets/{key}", parse=lambda response: response.json()
            )
        )
        yield from fetch(
            urljoin(self._settings.api_url, place["presignedUrl"]),
            method="PUT",
            headers={"content-type": packet.data_type},
            content=(packet.data or "").encode(),
            retry=self._settings.retry,
        )
        return packets.Packet(str(place["storagePath"]), packets.STORE)

    def _load(self, packet: packets.Packet) -> Flow[packets.Packet]:
        key = quote(packet.data or "", safe="")
        place = yield from self._send(
            Call(
                method="GET", path=f"/api/v1/packets/{key}", parse=lambda response: response.json()
            )
        )
        response = yield from fetch(
            urljoin(self._settings.api_url, str(place["presignedUrl"])), retry=self._settings.retry
        )
        kind = response.headers.get("content-type", packets.JSON).partition(";")[0].strip()
        return packets.Packet(response.content.decode(), kind)
