"""Searching stored executions page by page, and counting them.

A cursor names the execution after which to go on. It is signed with the key of the store, together with the
filter that it belongs to, so that it need not be kept anywhere.
"""

from __future__ import annotations

import hmac
import re
import threading
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import CursorInvalid
from flow_manager.ports.search import DEFAULT_LISTED, Filter, Page
from flow_manager.ports.store import Reader

COUNTS_AGE: Final = 1.0
"""Seconds for which the counts are good enough for everybody."""
_SIGNATURE: Final = 32
"""Hexadecimal digits of a signature that go into a cursor: 128 bits."""
_CURSOR: Final = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{32}")


class ExecutionSearch:
    """Implements `ports.search.Search` on what a store finds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counting = threading.Lock()
        self._counts: Mapping[ExecutionStatus, int] = {}
        self._counted_at = float("-inf")

    def page(self, wanted: Filter, cursor: str | None = None, limit: int = DEFAULT_LISTED) -> Page:
        before = None if cursor is None else self._read(cursor, wanted)
        found = self._reader.find(wanted, before, limit)
        return Page(found.executions, None if found.last is None else self._cursor(found.last, wanted))

    def counts(self) -> Mapping[ExecutionStatus, int]:
        with self._counting:
            if time.monotonic() - self._counted_at > COUNTS_AGE:
                self._counts, self._counted_at = self._reader.counts(), time.monotonic()
            return self._counts

    def _read(self, cursor: str, wanted: Filter) -> str:
        match = _CURSOR.fullmatch(cursor)
        execution_id = str(UUID(match[1])) if match else ""
        if match is None or not hmac.compare_digest(self._cursor(execution_id, wanted), cursor):
            raise CursorInvalid("this cursor does not come from a page of this list with these filters")
        return execution_id

    def _cursor(self, execution_id: str, wanted: Filter) -> str:
        key = UUID(execution_id).hex
        message = b"cursor %b %b" % (key.encode(), msgspec.json.encode(wanted))
        signature = hmac.new(self._reader.key(), message, sha256).hexdigest()[:_SIGNATURE]
        return f"{key}.{signature}"
