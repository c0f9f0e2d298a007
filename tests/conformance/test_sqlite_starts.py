"""The SQLite store starts and publishes as every store must."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import apsw
import pytest

from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.start_behaviour import StartBehaviour

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
