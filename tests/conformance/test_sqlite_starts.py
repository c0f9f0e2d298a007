"""The SQLite store starts and publishes as every store must."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import apsw
import pytest

from flow_manager.ports.store import Store
from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.start_behaviour import StartBehaviour
from tests.support.executions import last_step, new_execution

VIOLATING = {
    "slot.leaked": "DELETE FROM wakes WHERE execution_id = ?1",
    "slot.waiting": "DELETE FROM slots WHERE execution_id = ?1",
}


class TestSqliteStarts(StartBehaviour):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "starts.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self.path, "relaxed")

    def violate(self, code: str, execution_id: str) -> None:
        connection = apsw.Connection(str(self.path))
        connection.execute(VIOLATING[code], (UUID(execution_id).bytes,))
        assert connection.changes() > 0
        connection.close()

    def test_a_start_without_terms_asks_for_no_key_no_rate_and_no_slot(self) -> None:
        """The plain path costs what it did before there were terms."""
        seen: list[str] = []

        def trace(_cursor: object, sql: str, _bindings: object) -> bool:
            seen.append(sql)
            return True

        async def scenario(store: Store) -> None:
            assert isinstance(store, SqliteStore)
            store._writer.exec_trace = trace
            claim = await store.start(new_execution())
            await store.commit(last_step(claim, 2))
            store._writer.exec_trace = None

        self.run(scenario)
        assert sum(sql.startswith("INSERT INTO steps ") for sql in seen) == 2
        assert [sql for sql in seen if re.search(r"\b(keys|rates|slots|slot_limits|priority)\b", sql)] == []
