"""Searching: through which index, and no further than a bound.

A filter can be driven by several sources of keys; each gives the keys of all executions that can match, the
newest first, from one index. The sparsest is gone through, and each execution is held against the whole
filter. Whoever is given fewer than he asked for goes on from where the look has stopped.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from flow_manager.core.states import ENDED, MOVING, STATUS_OF, ExecutionStatus, WakeReason
from flow_manager.ports.search import Filter
from flow_manager.stores.sqlite.rows import to_micros

MOST_EXAMINED: Final = 20_000
"""Executions that one request looks at."""
MOST_STREAMS: Final = 100
"""Versions of a flow, or codes of errors, that are gone through side by side; of more, all executions are."""
PROBED: Final = 200
"""Keys by which it is told which source is the sparsest."""
MOST_AT_ONCE: Final = 2_000
"""Keys that are held against the filter by one statement."""
_FIRST: Final = b""
_LAST: Final = b"\xff" * 17
_BEGINNING_OF_ID: Final = re.compile(
    r"[0-9a-f]{8}(-([0-9a-f]{1,4}(-([0-9a-f]{1,4}(-([0-9a-f]{1,4}(-[0-9a-f]{0,12})?)?)?)?)?)?)?"
)

Row = tuple[Any, ...]


class Source(NamedTuple):
    """A statement that gives keys, and what it is given beyond the range of the keys."""

    statement: str
    bindings: tuple[str | bytes, ...] = ()


Candidate = Sequence[Source]
"""Sources that share no key, and together give every execution that can match."""


class Known(NamedTuple):
    """What was looked up for a filter: the digests of the flow, and the codes of errors; None if they are
    not asked for or too many."""

    digests: Sequence[bytes] | None = None
    codes: Sequence[str] | None = None


class Search:
    """One search on a connection, within one transaction of it."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._sql = sql

    def find(self, wanted: Filter, before: bytes | None, limit: int) -> tuple[list[Row], bytes | None]:
        """The rows of up to `limit` executions, and the key up to which it was looked; None if to the end."""
        low, high = key_range(wanted, before)
        known = self._look_up(wanted)
        tests = tests_of(wanted, known)
        with ExitStack() as cursors:
            keys = self._sparsest(candidates(wanted, known), low, high, cursors)
            return self._choose(keys, tests, limit)

    def _look_up(self, wanted: Filter) -> Known:
        digests: list[bytes] | None = None
        if wanted.version is not None:
            found = self._db.execute(self._sql["digest_of_version"], (wanted.flow_id, wanted.version))
            digests = [digest for (digest,) in found]
        elif wanted.flow_id is not None:
            found = self._db.execute(self._sql["digests_of_flow"], (wanted.flow_id, MOST_STREAMS + 1))
            digests = [digest for (digest,) in found]
        codes: list[str] | None = None
        if wanted.error is not None:
            is_exact = not wanted.error.endswith(".")
            codes = [wanted.error] if is_exact else self._codes(*error_range(wanted.error))
        return Known(_if_few(digests), _if_few(codes))

    def _codes(self, low: str, high: str) -> list[str]:
        """The codes in this range: each is found from the one before, whatever lies between them."""
        codes: list[str] = []
        while len(codes) <= MOST_STREAMS:
            found = self._db.execute(self._sql["next_error"], (low, high)).get
            if found is None:
                break
            codes.append(found)
            low = found + "\0"
        return codes

    def _sparsest(
        self, among: Sequence[Candidate], low: bytes, high: bytes, cursors: ExitStack
    ) -> Iterator[bytes]:
        streams = [self._merged(candidate, low, high, cursors) for candidate in among]
        if len(streams) == 1:
            return streams[0]
        heads = [list(itertools.islice(stream, PROBED)) for stream in streams]
        chosen = sparsest(heads, PROBED)
        return itertools.chain(heads[chosen], streams[chosen])

    def _merged(self, candidate: Candidate, low: bytes, high: bytes, cursors: ExitStack) -> Iterator[bytes]:
        return heapq.merge(*(self._keys(each, low, high, cursors) for each in candidate), reverse=True)

    def _keys(self, source: Source, low: bytes, high: bytes, cursors: ExitStack) -> Iterator[bytes]:
        cursor = self._db.cursor()
        cursors.callback(cursor.close)
        rows = cursor.execute(self._sql[source.statement], (low, high, *source.bindings))
        return (row[0] for row in rows)

    def _choose(
        self, keys: Iterator[bytes], tests: Mapping[str, Any], limit: int
    ) -> tuple[list[Row], bytes | None]:
        found: list[Row] = []
        examined, size, last = 0, limit + 1, None
        while len(found) <= limit and examined < MOST_EXAMINED:
            size = min(size, MOST_AT_ONCE, MOST_EXAMINED - examined)
            batch = list(itertools.islice(keys, size))
            if batch:
                names = msgspec.json.encode([key.hex() for key in batch]).decode()
                found += self._db.execute(self._sql["executions_among"], {**tests, "keys": names})
                examined, last = examined + len(batch), batch[-1]
            if len(batch) < size and len(found) <= limit:
                return found, None
            size *= 2
        if len(found) > limit:
            return found[:limit], found[limit - 1][0]
        return found, last


def candidates(wanted: Filter, known: Known) -> list[Candidate]:
    """What can drive the search: never nothing."""
    found: list[Candidate] = [[Source("keys_with_label", label)] for label in wanted.labels]
    if known.digests is not None:
        found.append([Source("keys_of_digest", (digest,)) for digest in known.digests])
    if known.codes is not None:
        found.append([Source("keys_with_error", (code,)) for code in known.codes])
    if wanted.reason is not None:
        found.append([_of_reason(wanted.reason)])
    if wanted.status is not None:
        found += _of_status(wanted.status)
    return found or [[Source("keys_by_id")]]


def _of_status(status: ExecutionStatus) -> list[Candidate]:
    if status is ExecutionStatus.COMPLETED:
        return []  # most executions are: all of them are gone through
    if status in ENDED:
        return [[Source("keys_not_completed", (status.value,))]]
    reasons = reasons_of(status)
    if status is ExecutionStatus.COMPENSATING:
        return [[Source("keys_ending", (reason.value,)) for reason in reasons]]
    return [[_of_reason(reason) for reason in reasons]]


def _of_reason(reason: WakeReason) -> Source:
    return Source("keys_claimed") if reason is WakeReason.CLAIM else Source("keys_parked", (reason.value,))


def reasons_of(status: ExecutionStatus) -> list[WakeReason]:
    """The wake reasons that an open execution with this status can have."""
    wanted = MOVING if status is ExecutionStatus.COMPENSATING else {status}
    return [reason for reason, each in STATUS_OF.items() if each in wanted]


def sparsest(heads: Sequence[Sequence[bytes]], full: int) -> int:
    """Which of these beginnings leads furthest back; one that is not `full` leads to the end."""

    def reach(number: int) -> tuple[bool, bytes, int]:
        head = heads[number]
        is_whole = len(head) < full
        return not is_whole, b"" if is_whole else head[-1], len(head)

    return min(range(len(heads)), key=reach)


def key_range(wanted: Filter, before: bytes | None) -> tuple[bytes, bytes]:
    """The lowest key, and the one before which the search ends."""
    lows, highs = [_FIRST], [_LAST if before is None else before]
    if wanted.since is not None:
        lows.append(_first_key(wanted.since))
    if wanted.until is not None:
        highs.append(_first_key(wanted.until))
    if wanted.text is not None and is_beginning_of_id(wanted.text):
        digits = wanted.text.lower().replace("-", "")
        lows.append(bytes.fromhex(digits.ljust(32, "0")))
        highs.append(bytes.fromhex(digits.ljust(32, "f")) + b"\0")
    return max(lows), min(highs)


def is_beginning_of_id(text: str) -> bool:
    """Eight characters at least: fewer say no more than the week."""
    return len(text) <= 36 and _BEGINNING_OF_ID.fullmatch(text.lower()) is not None


def _first_key(moment: datetime) -> bytes:
    """The lowest key that a UUIDv7 of this millisecond can have."""
    milliseconds = max(0, to_micros(moment) // 1000)
    return min(milliseconds, (1 << 48) - 1).to_bytes(6) + bytes(10)


def error_range(error: str) -> tuple[str, str]:
    """The first code, and the one before which the range ends."""
    return (error, error[:-1] + "/") if error.endswith(".") else (error, error + "\0")


def tests_of(wanted: Filter, known: Known) -> dict[str, Any]:
    """What each execution is held against."""
    error, error_end = (None, None) if wanted.error is None else error_range(wanted.error)
    digest = known.digests[0] if wanted.version is not None and known.digests else None
    text = None if wanted.text is None or is_beginning_of_id(wanted.text) else wanted.text
    return {
        "flow_id": wanted.flow_id,
        "digest": digest,
        "states": None if wanted.status is None else _states_of(wanted.status),
        "reason": None if wanted.reason is None else wanted.reason.value,
        "error": error,
        "error_end": error_end,
        "labels": msgspec.json.encode(wanted.labels).decode(),
        "text": text,
    }


def _states_of(status: ExecutionStatus) -> str:
    """As the list tells them: final statuses, `compensating`, and otherwise wake reasons."""
    is_named = status in ENDED or status is ExecutionStatus.COMPENSATING
    return msgspec.json.encode([status] if is_named else reasons_of(status)).decode()


def _if_few(values: list[Any] | None) -> list[Any] | None:
    return values if values is not None and len(values) <= MOST_STREAMS else None


def count_by_status(connection: apsw.Connection, sql: Mapping[str, str]) -> Mapping[ExecutionStatus, int]:
    """Those that have ended were counted as they did; of the open ones the indexes are counted."""
    counts = dict.fromkeys(ExecutionStatus, 0)
    for status, ended in connection.execute(sql["ended_counts"]):
        name = status.decode(errors="replace")
        if name in ENDED:
            counts[ExecutionStatus(name)] += ended
    claimed: int = connection.execute(sql["count_open"]).get
    for reason, status in STATUS_OF.items():
        ending = connection.execute(sql["count_ending"], (reason.value,)).get if status in MOVING else 0
        counts[ExecutionStatus.COMPENSATING] += ending
        counts[status] -= ending
        if reason is not WakeReason.CLAIM:
            parked: int = connection.execute(sql["count_parked"], (reason.value,)).get
            counts[status] += parked
            claimed -= parked
    counts[ExecutionStatus.RUNNING] += claimed
    return counts
