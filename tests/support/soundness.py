"""What must hold of a store after any fault, whatever the fault was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import apsw

from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
)
from flow_manager.core.states import ENDED
from flow_manager.stores.sqlite.reader import SqliteReader

Start = tuple[str, str, int, int]
"""One start of a task body: execution, task, run, attempt."""


def assert_sound(database: Path, acknowledged: Collection[str], journal: Path | None = None) -> None:
    """Every acknowledged execution is there, has ended, and its history is whole; nothing waits for
    nothing; the file is sound; and a body started more often than its attempts only if that is
    recorded (`journal` holds a line for each start of a body)."""
    with closing(SqliteReader(database)) as reader:
        assert list(reader.violations()) == []
        histories = {execution_id: reader.history(execution_id) for execution_id in acknowledged}
        for execution_id, history in histories.items():
            assert_whole(history)
            assert reader.describe(execution_id).is_ended, execution_id
        open_ones = [
            summary.execution_id for summary in reader.executions(limit=1_000) if summary.status not in ENDED
        ]
        assert open_ones == []
        if journal is not None and journal.exists():
            _assert_every_start_has_its_reason(reader, journal)
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def assert_whole(history: Sequence[Event]) -> None:
    """One end, at the end; each attempt started once before it ended, and ended once."""
    assert [isinstance(event, ExecutionEnded) for event in history] == [False] * (len(history) - 1) + [True]
    open_attempt: tuple[int, int] | None = None
    ended: set[tuple[int, int]] = set()
    for event in history:
        if isinstance(event, AttemptStarted):
            assert open_attempt is None
            open_attempt = (event.run, event.attempt)
            assert open_attempt not in ended
        elif isinstance(event, AttemptEnded | AttemptCancelled | AttemptLost | AttemptReleased):
            assert open_attempt == (event.run, event.attempt)
            open_attempt = None
            if not isinstance(event, AttemptReleased):
                ended.add((event.run, event.attempt))


def starts(journal: Path) -> Counter[Start]:
    """How often each attempt's body started."""
    counted: Counter[Start] = Counter()
    for line in journal.read_text(encoding="utf-8").splitlines():
        _, execution_id, task, run, attempt = line.split(" ")
        counted[execution_id, task, int(run), int(attempt)] += 1
    return counted


def _assert_every_start_has_its_reason(reader: SqliteReader, journal: Path) -> None:
    """The start of an attempt is stored before its body starts, and an attempt's body starts once
    for each time that its start is stored."""
    recorded: dict[str, Counter[Start]] = {}
    for (execution_id, task, run, attempt), times in starts(journal).items():
        if execution_id not in recorded:
            recorded[execution_id] = Counter(
                (execution_id, event.task, event.run, event.attempt)
                for event in reader.history(execution_id)
                if isinstance(event, AttemptStarted)
            )
        assert times <= recorded[execution_id][execution_id, task, run, attempt]
