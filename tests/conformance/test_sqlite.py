"""The SQLite store behaves as every store must; and what is true of it alone."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import apsw
import pytest
from hypothesis import settings

from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.random_schedule import RandomSchedule
from tests.conformance.store_behaviour import StoreBehaviour

VIOLATING = {
    "wake.missing": "DELETE FROM wakes WHERE execution_id = ?1",
    "wake.leftover": "UPDATE executions SET status = 'completed' WHERE id = ?1",
    "wake.unknown": "UPDATE wakes SET reason = 'hope' WHERE execution_id = ?1",
    "status.unknown": "UPDATE executions SET status = 'complexed' WHERE id = ?1",
    "history.gap": "DELETE FROM history WHERE execution_id = ?1 AND seq = 1",
    "history.end": "UPDATE wakes SET last_seq = last_seq + 1 WHERE execution_id = ?1",
    "history.missing": "DELETE FROM history WHERE execution_id = ?1",
    "children.none": "UPDATE children SET status = 'failed' WHERE parent = ?1",
    "children.untold": "DELETE FROM wakes WHERE execution_id IN (SELECT child FROM children"
    " WHERE parent = ?1)",
    "children.count": "UPDATE families SET ended = ended + 1 WHERE parent = ?1",
    "mail.leftover": "INSERT INTO mail VALUES (?1, 1, 0, 'signal', 'paid', 'null', '')",
    "history.leftover": "DELETE FROM executions WHERE id = ?1",
}

LAST = "WHERE execution_id = ?1 AND seq = (SELECT max(seq) FROM history WHERE execution_id = ?1)"
DAMAGING = {
    "bad_utf8": f"UPDATE history SET events = CAST(x'7bff7d' AS TEXT) {LAST}",
    "truncated": f"UPDATE history SET events = substr(events, 1, length(events) - 7) {LAST}",
    "unknown_type": f"UPDATE history SET events = replace(events, 'attempt_started', 'attempt_blest') {LAST}",
    "not_a_number": f"UPDATE history SET events = replace(events, '\"run\":', '\"run\":NaN') {LAST}",
    "another_number": f"UPDATE history SET events = replace(events, '2026', '2027') {LAST}",
    "row_missing": f"DELETE FROM history {LAST}",
}


class TestSqliteStore(StoreBehaviour):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "conformance.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self.path, "relaxed")

    def violate(self, code: str, execution_id: str) -> None:
        self.execute(VIOLATING[code], UUID(execution_id).bytes)

    def damage(self, how: str, execution_id: str) -> None:
        self.execute(DAMAGING[how], UUID(execution_id).bytes)

    def damage_definition(self) -> None:
        self.execute("UPDATE definitions SET text = replace(text, 'stored', 'stares')")

    def execute(self, sql: str, *bindings: bytes) -> None:
        """Behind the store's back, while it is stopped."""
        connection = apsw.Connection(str(self.path))
        connection.execute(sql, bindings)
        assert connection.changes() > 0
        connection.close()


class SqliteSchedule(RandomSchedule):
    def make(self) -> SqliteStore:
        return SqliteStore(self.folder / "schedule.db", "relaxed")


TestSqliteSchedule = SqliteSchedule.TestCase
TestSqliteSchedule.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
