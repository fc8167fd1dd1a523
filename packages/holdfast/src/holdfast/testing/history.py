"""The history of a durable run as a file: what it was given, what it has recorded, how it ended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pydantic

from holdfast import packets
from holdfast.protocol import Entry

FORMAT = 1

_ENTRIES = pydantic.TypeAdapter(tuple[Entry, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a durable run has done.

    Attributes:
        run: The run's id; random numbers and UUIDs are drawn from it.
        task: Its task.
        status: Its status; one that is ``COMPLETED`` must end where its journal does.
        version: The version that wrote it.
        data: The encoded payload.
        data_type: Its media type.
        journal: The entries, in order.
    """

    run: str
    task: str
    status: str
    version: str = ""
    data: str | None = None
    data_type: str = packets.JSON
    journal: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A history from its JSON form.

        Raises:
            ValueError: It is none, or of a later format.
        """
        if values.get("format") != FORMAT:
            raise ValueError(f"not a history of format {FORMAT}: {str(values)[:80]}")
        payload = values.get("payload") or {}
        return cls(
            run=str(values["run"]),
            task=str(values["task"]),
            status=str(values["status"]),
            version=str(values.get("version") or ""),
            data=payload.get("data"),
            data_type=payload.get("type") or packets.JSON,
            journal=_ENTRIES.validate_python(values.get("journal") or ()),
        )

    @classmethod
    def taken(
        cls,
        *,
        run: str,
        task: str,
        status: str,
        payload: Any,
        journal: tuple[Entry, ...],
        version: str = "",
    ) -> Self:
        """The history of a run with this payload, not encoded yet."""
        data, data_type = packets.encode(payload)
        return cls(
            run=run,
            task=task,
            status=status,
            version=version,
            data=data,
            data_type=data_type,
            journal=journal,
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A history from a file, as `holdfast runs history` writes it.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no history.
        """
        try:
            return cls.of(json.loads(Path(path).read_text()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a history: {error!r}") from None

    def to_json(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "format": FORMAT,
            "run": self.run,
            "task": self.task,
            "status": self.status,
            "version": self.version,
            "payload": {"data": self.data, "type": self.data_type},
            "journal": [dataclasses.asdict(entry) for entry in self.journal],
        }

    def save(self, path: str | Path) -> None:
        """Write it to a file."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n")

    def payload(self) -> Any:
        """The payload, decoded."""
        return packets.decode(self.data, self.data_type)
