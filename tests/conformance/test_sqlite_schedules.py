"""The SQLite store keeps schedules as every store must."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.schedule_behaviour import ScheduleBehaviour


class TestSqliteSchedules(ScheduleBehaviour):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "schedules.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self.path, "relaxed")

    def publish(self, flow_id: str, text: str) -> None:
        digest = sha256(text.encode()).digest()
        connection = apsw.Connection(str(self.path))
        connection.execute("INSERT INTO definitions VALUES (?, ?, ?)", (digest, flow_id, text))
        connection.execute("INSERT INTO flows VALUES (?, 1, 0, 0)", (flow_id,))
        connection.execute("INSERT INTO versions VALUES (?, 1, ?, 0, '')", (flow_id, digest))
        connection.close()
