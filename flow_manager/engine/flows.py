"""Flows at hand: parsed definitions and validation reports, kept by the digest of their text."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from flow_manager.core.definition import Flow
from flow_manager.core.parser import FlowParser

Value = TypeVar("Value")

MOST_BYTES: Final = 16 << 20
"""Text whose parsed form is kept, in bytes: some thousand ordinary flows, or a few of the largest."""
LARGE: Final = 32 << 10
"""Bytes of a definition that takes longer to parse than a loop should be held up."""
EXPRESSION: Final = 8 << 10
"""Bytes of a compiled expression, measured."""


class DigestCache(Generic[Value]):
    """What was made of a text, by the text's digest; the least recently used goes first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._most_bytes = most_bytes

    def get(self, digest: str) -> Value | None:
        found = self._kept.get(digest)
        if found is None:
            return None
        self._kept.move_to_end(digest)
        return found[0]

    def put(self, digest: str, value: Value, size: int) -> None:
        replaced = self._kept.pop(digest, None)
        self._bytes += size - (replaced[1] if replaced else 0)
        self._kept[digest] = (value, size)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed


def weight_of(text: bytes) -> int:
    """About how many bytes the parsed form of a document keeps: an expression is compiled."""
    return len(text) + EXPRESSION * (text.count(b"${") + text.count(b"when"))


class StoredFlows:
    """The flows of stored executions, each parsed once as long as it is remembered. For any thread."""

    def __init__(self) -> None:
        self._parsed: DigestCache[Flow] = DigestCache()
        self._parser = FlowParser()
        self._lock = threading.Lock()

    async def soon(self, digest: str, definition: bytes) -> Flow:
        """As `of`; a large one is parsed on another thread, so that the loop goes on meanwhile."""
        if len(definition) < LARGE or self.at_hand(digest) is not None:
            return self.of(digest, definition)
        return await asyncio.get_running_loop().run_in_executor(None, self.of, digest, definition)

    def of(self, digest: str, definition: bytes) -> Flow:
        """Raises `InvalidFlow`, and what reading JSON raises, for a definition that is damaged."""
        flow = self.at_hand(digest)
        if flow is None:
            flow = self._parser.parse(definition)
            with self._lock:
                self._parsed.put(digest, flow, weight_of(definition))
        return flow

    def at_hand(self, digest: str) -> Flow | None:
        """The flow if it is remembered."""
        with self._lock:
            return self._parsed.get(digest)
