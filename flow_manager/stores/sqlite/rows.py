"""How values stand in rows: ids as 16 bytes, times as microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def to_key(execution_id: str) -> bytes:
    """The key of a well-formed id. Raises `ValueError` for any other text."""
    return UUID(execution_id).bytes


def from_key(key: bytes) -> str:
    return str(UUID(bytes=key))
