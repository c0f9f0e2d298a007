"""Which ended executions may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from flow_manager.core.children import MOST_DEPTH, ParentLink
from flow_manager.core.states import ENDED
from flow_manager.stores.sqlite.rows import to_some_key

FIRST: Final = b""
"""The place before the oldest execution."""
_TIME_BITS: Final = 80
"""Bits of a UUIDv7 below its time, which is in milliseconds."""
_LAST_ID: Final = (1 << 128) - 1


class Candidate(NamedTuple):
    """An execution that was looked at. `status` is None if it has to stay."""

    key: bytes
    digest: bytes
    status: str | None


class _Began(msgspec.Struct):
    """What is read of the first event of an execution."""

    parent: ParentLink | None = None


class Candidates:
    """Those that ended up to `cutoff`, in microseconds since 1970, and that nothing else needs.

    A child goes no earlier than its parent could: as long as that one is open, it may have undone what
    the child did. One of which something is still to be told stays as well.
    """

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], cutoff: int) -> None:
        self._db = connection
        self._sql = sql
        self._cutoff = max(0, cutoff)
        self._free: dict[bytes, bool] = {}
        """Parents that were looked at, and whether they could go."""

    def after(self, place: bytes, limit: int) -> Iterator[Candidate]:
        """So many executions from a place on, the oldest first. Whoever started after the cutoff cannot
        have ended before it, and ids begin with the time of the start."""
        end = min(((self._cutoff // 1000 + 1) << _TIME_BITS), _LAST_ID).to_bytes(16, "big")
        rows: list[Any] = self._db.execute(self._sql["oldest_executions"], (place, end, limit)).fetchall()
        for key, digest, status, ended_at in rows:
            may_go = self._has_ended(status, ended_at) and self._is_needless(key)
            yield Candidate(key, digest, status.decode() if may_go else None)

    def _has_ended(self, status: bytes | None, ended_at: int | None) -> bool:
        if status is None or ended_at is None or ended_at > self._cutoff:
            return False
        return status.decode(errors="replace") in ENDED

    def _is_needless(self, key: bytes) -> bool:
        if not self._could_go(key) or self._db.execute(self._sql["has_to_tell"], (key,)).fetchone():
            return False
        parent = self._parent_of(key)
        return parent is None or (parent != key and self._are_free_from(parent))

    def _are_free_from(self, parent: bytes) -> bool:
        """Whether a parent, and every one above it, could go or is gone."""
        known = self._free.get(parent)
        if known is None:
            known = self._free[parent] = self._climb(parent)
        return known

    def _climb(self, key: bytes) -> bool:
        above: bytes | None = key
        for _ in range(MOST_DEPTH + 1):
            if above is None or not self._db.execute(self._sql["digest_of"], (above,)).fetchone():
                return True
            if not self._could_go(above):
                return False
            above = self._parent_of(above)
        return False  # no chain is so long: it is damaged, and stays for whoever repairs it

    def _could_go(self, key: bytes) -> bool:
        found = self._db.execute(self._sql["end_of"], (key,)).fetchone()
        return found is not None and self._has_ended(*found)

    def _parent_of(self, key: bytes) -> bytes | None:
        """Whose child it is. What cannot be read counts as a child of its own, and so stays."""
        found: Any = self._db.execute(self._sql["first_events"], (key,)).get
        try:
            began = msgspec.json.decode(found.partition(b"\n")[0], type=_Began)
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError):
            return key
        return None if began.parent is None else to_some_key(began.parent.execution_id)
