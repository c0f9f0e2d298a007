"""The outbox in the store: deliveries, kept until they have arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import apsw

from flow_manager.core.webhooks import Delivery
from flow_manager.ports.webhooks import Backlog, ClaimedDelivery
from flow_manager.stores.sqlite.commands import Doing
from flow_manager.stores.sqlite.connections import ReadConnection
from flow_manager.stores.sqlite.reader import STATEMENTS
from flow_manager.stores.sqlite.rows import to_micros

MOST_COUNTED: Final = 100_000
"""How far deliveries are counted."""
MOST_FREED: Final = 5_000
"""How many of those that were on their way, and of those that were given up, a start makes due."""

Rows = list[tuple[Any, ...]]
Write = Callable[[Doing], Any]


class SqliteOutbox:
    """Implements `ports.webhooks.Outbox`. `work` has a function write in a transaction of the journal."""

    def __init__(self, path: Path, work: Callable[[Write], Awaitable[Any]]) -> None:
        self._work = work
        self._looking = ReadConnection(path)
        self._counting = ReadConnection(path)

    def due(self, now: datetime, limit: int) -> Sequence[str]:
        with self._looking.lent() as connection:
            found = connection.execute(STATEMENTS["destinations_due"], (to_micros(now), limit))
            return [destination for (destination,) in found]

    def claim(
        self, now: datetime, until: datetime, wanted: Mapping[str, int]
    ) -> Awaitable[Sequence[ClaimedDelivery]]:
        def write(doing: Doing) -> list[ClaimedDelivery]:
            claimed = []
            for destination, limit in wanted.items():
                bindings = (destination, to_micros(now), limit)
                found: Rows = doing.rows("due_deliveries", bindings)
                for key, seq, delivery_id, payload, secret, tries in found:
                    text = payload.decode(errors="replace")
                    delivery = Delivery(delivery_id, destination, seq, text, secret)
                    claimed.append(ClaimedDelivery(key, delivery, tries, until))
            rows = [(to_micros(until), *_place(each)) for each in claimed]
            doing.connection.executemany(doing.sql["claim_delivery"], rows)
            return claimed

        return self._work(write)

    def delivered(self, claimed: ClaimedDelivery) -> Awaitable[None]:
        return self._change("forget_delivery", *_place(claimed))

    def failed(self, claimed: ClaimedDelivery, next_try: datetime) -> Awaitable[None]:
        fence = (*_place(claimed), to_micros(claimed.until))
        return self._change("delay_delivery", to_micros(next_try), claimed.tries + 1, *fence)

    def give_back(self, claimed: ClaimedDelivery, now: datetime) -> Awaitable[None]:
        fence = (*_place(claimed), to_micros(claimed.until))
        return self._change("delay_delivery", to_micros(now), claimed.tries, *fence)

    def park(self, claimed: ClaimedDelivery) -> Awaitable[None]:
        return self._change("park_delivery", *_place(claimed), to_micros(claimed.until))

    def _change(self, name: str, *bindings: Any) -> Awaitable[None]:
        def write(doing: Doing) -> None:
            doing.run(name, bindings)

        return self._work(write)

    def backlog(self) -> Backlog:
        with self._counting.lent() as connection:
            found = connection.execute(STATEMENTS["count_deliveries"], (MOST_COUNTED,)).fetchone()
        return Backlog(*(found or (0, 0)))

    def close(self) -> None:
        self._looking.close()
        self._counting.close()


def _place(claimed: ClaimedDelivery) -> tuple[bytes, str, int]:
    return claimed.key, claimed.delivery.destination, claimed.delivery.seq


def free_deliveries(connection: apsw.Connection, now: datetime) -> None:
    """Make due what nobody sends any more, and what was given up. For a start, and outside a transaction."""
    due_at = to_micros(now)
    with connection:
        held: Rows = connection.execute(STATEMENTS["held_deliveries"], (due_at, MOST_FREED)).fetchall()
        connection.executemany(STATEMENTS["free_delivery"], [(due_at, *place) for place in held])
