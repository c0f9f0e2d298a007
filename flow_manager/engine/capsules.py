"""Capsules made from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.capsule import FORMAT, summary_json
from flow_manager.core.events import Event, encode_event
from flow_manager.errors import ExecutionUnknown
from flow_manager.ports.backend import ChildSummary
from flow_manager.ports.store import Reader

MOST_BYTES: Final = 16 << 20
"""Bytes of JSON of a capsule, its children included, but for small change."""
MOST_CHILDREN: Final = 1_000
"""Executions below one, children of children included, that go with it."""


class StoredCapsules:
    """Implements `ports.capsules.Capsules`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def export(self, execution_id: str, exported_at: datetime) -> Mapping[str, Any]:
        return _Export(self._reader, format_time(exported_at)).capsule_of(execution_id)


class _Export:
    """One capsule with all that is within it, and how much room is left."""

    def __init__(self, reader: Reader, exported_at: str) -> None:
        self._reader = reader
        self._exported_at = exported_at
        self._bytes = MOST_BYTES
        self._children = MOST_CHILDREN

    def capsule_of(self, execution_id: str) -> dict[str, Any]:
        history = self._reader.history(execution_id)
        view = self._reader.describe(execution_id)
        _, definition = self._reader.definition(execution_id)
        summary = summary_json(view)
        self._bytes -= len(definition) + len(msgspec.json.encode(summary))
        events = self._as_many_as_fit(history)
        children, missing = self._children_of(execution_id)
        capsule = {
            "format": FORMAT,
            "exported_at": self._exported_at,
            "execution": summary,
            "definition": msgspec.json.decode(definition),
            "history": [msgspec.to_builtins(event) for event in events],
            "children": children,
        }
        left_out = {"events": len(history) - len(events), "children": missing}
        return capsule | {"left_out": left_out} if any(left_out.values()) else capsule

    def _as_many_as_fit(self, history: Sequence[Event]) -> list[Event]:
        """From the first on: a replay goes as far as they lead."""
        return list(takewhile(self._fits, history))

    def _fits(self, event: Event) -> bool:
        self._bytes -= len(encode_event(event).encode())
        return self._bytes >= 0

    def _children_of(self, execution_id: str) -> tuple[list[dict[str, Any]], int]:
        """Those that fit, and how many do not or are not there any more."""
        children = self._reader.children(execution_id)
        taken = [each for each in map(self._child, children) if each is not None]
        return taken, len(children) - len(taken)

    def _child(self, child: ChildSummary) -> dict[str, Any] | None:
        if self._bytes <= 0 or self._children <= 0:
            return None
        self._children -= 1
        place = {"run": child.run, "attempt": child.attempt, "index": child.index}
        try:
            return {**place, "capsule": self.capsule_of(child.execution_id)}
        except ExecutionUnknown:  # pruned
            return None
