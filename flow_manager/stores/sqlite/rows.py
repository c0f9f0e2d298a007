"""How values stand in rows.

Ids are 16 bytes, digests 32, times microseconds since 1970 in UTC. The events of one step share
a row, one JSON text per line, guarded by a checksum of them and their place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from flow_manager.core.events import Event

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MOST_MICROS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_SIGNED: Final = 1 << 31

UNREADABLE: Final = b""
"""Stands for an event whose row is damaged. No decoder accepts it."""

_encode = msgspec.json.Encoder().encode_lines


def to_micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Times that no calendar has, as damage may leave them, become the last one that it has."""
    return _EPOCH + timedelta(microseconds=min(max(micros, 0), _MOST_MICROS))


def to_key(execution_id: str) -> bytes:
    """The key of a well-formed id. Raises `ValueError` for any other text."""
    return UUID(execution_id).bytes


def to_some_key(text: str) -> bytes:
    """The key of an id, or one that nothing has if the text is no well-formed id."""
    try:
        return to_key(text)
    except ValueError:
        return b""


def from_key(key: bytes) -> str:
    """The id of a key; of a damaged one, whatever can be told of it."""
    return str(UUID(bytes=key)) if isinstance(key, bytes) and len(key) == 16 else repr(key)


def to_text(text: str) -> str:
    """Words for people, as SQLite can keep them: lone surrogates become question marks."""
    return text.encode(errors="replace").decode()


def history_row(key: bytes, seq: int, events: Sequence[Event]) -> tuple[bytes, int, int, str, int]:
    """The row of the events of a step, the first of which is number `seq`."""
    lines = _encode(events)[:-1]
    return key, seq, seq + len(events) - 1, lines.decode(), _checksum(key, seq, lines)


def events_of_rows(key: bytes, rows: Iterable[tuple[int, int, bytes, int]], first: int = 1) -> list[bytes]:
    """The JSON text of each event from number `first` on; `UNREADABLE` for each one of a damaged row."""
    events: list[bytes] = []
    for seq, last_seq, lines, checksum in rows:
        found = lines.split(b"\n")
        if (
            checksum == _checksum(key, seq, lines)
            and len(found) == last_seq - seq + 1
            and seq == len(events) + first
        ):
            events += found
        else:
            events.append(UNREADABLE)
    return events


def tail_of_rows(key: bytes, row: tuple[int, int, bytes, int]) -> bytes:
    """The JSON text of the last event of a row; `UNREADABLE` if the row is damaged."""
    seq, _, lines, checksum = row
    return lines.split(b"\n")[-1] if checksum == _checksum(key, seq, lines) else UNREADABLE


def start_checksum(key: bytes, digest: bytes, flow_id: str, started_at: int) -> int:
    """Guards what the list tells of an execution; its end adds `end_checksum`."""
    return zlib.crc32(b"%b%b%b %d" % (key, digest, flow_id.encode(), started_at)) - _SIGNED


def end_checksum(key: bytes, status: str, ended_at: int) -> int:
    return zlib.crc32(b"%b%b %d" % (key, status.encode(), ended_at)) - _SIGNED


def _checksum(key: bytes, seq: int, lines: bytes) -> int:
    """CRC-32, shifted to where SQLite keeps it in four bytes."""
    return zlib.crc32(lines, zlib.crc32(key, seq)) - _SIGNED
