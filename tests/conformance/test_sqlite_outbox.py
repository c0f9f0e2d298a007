"""The outbox of the SQLite store behaves as every one must; and what is true of it alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from flow_manager.ports.store import Store
from flow_manager.ports.webhooks import Backlog
from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.outbox_behaviour import OutboxBehaviour, claim, delivery, told
from tests.support.executions import NOW


class TestSqliteOutbox(OutboxBehaviour):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "outbox.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self.path, "relaxed")

    def test_the_next_start_sends_what_the_last_one_held_or_gave_up(self) -> None:
        """One process owns the file: whoever had claimed something is gone."""

        async def first(store: Store) -> None:
            for _ in range(3):
                await told(store, delivery())
            _, failed, parked = await claim(store)
            await store.outbox.failed(failed, NOW + timedelta(hours=1))
            await store.outbox.park(parked)

        async def second(store: Store) -> None:
            assert store.outbox.backlog() == Backlog(pending=3, parked=0)
            assert sorted(each.tries for each in await claim(store)) == [0, 0, 1]

        self.run(first)
        self.run(second)

    def test_a_damaged_payload_stops_no_other(self) -> None:
        async def first(store: Store) -> None:
            await told(store, delivery(2))
            await told(store, delivery(3))

        async def second(store: Store) -> None:
            found = {each.delivery.seq: each.delivery.payload for each in await claim(store)}
            assert found == {2: "{\ufffd}", 3: '{"seq":3}'}

        self.run(first)
        connection = apsw.Connection(str(self.path))
        connection.execute("UPDATE outbox SET payload = CAST(x'7bff7d' AS TEXT) WHERE seq = 2")
        connection.close()
        self.run(second)
