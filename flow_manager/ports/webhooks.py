"""Webhooks: where deliveries wait to be sent, and who sends them.

A delivery is recorded together with the step that it tells of, and stays until its destination has
taken it: each arrives at least once. Those of one execution to one destination go out in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from flow_manager.core.webhooks import Delivery


class ClaimedDelivery(msgspec.Struct, frozen=True):
    """A delivery that is this engine's to send until `until`. `tries` failed before; `key` is the
    store's own name for its execution."""

    key: bytes
    delivery: Delivery
    tries: int
    until: datetime


class Backlog(msgspec.Struct, frozen=True):
    """How many deliveries wait to be sent, and how many were given up; each counted up to a bound."""

    pending: int = 0
    parked: int = 0


class Outbox(Protocol):
    """Where deliveries wait. Writes are awaited on the engine's loop, and raise what `Store` raises."""

    def due(self, now: datetime, limit: int) -> Sequence[str]:
        """The destinations to which something is to be sent by now, in the order of their names. A quick
        look, for the dispatcher."""

    def claim(
        self, now: datetime, until: datetime, wanted: Mapping[str, int]
    ) -> Awaitable[Sequence[ClaimedDelivery]]:
        """Up to so many due deliveries to each destination, none behind an earlier one of its execution
        to the same destination that has not been given up. Until `until` nobody else gets them."""

    def delivered(self, claimed: ClaimedDelivery) -> Awaitable[None]:
        """Forget it: it has arrived."""

    def failed(self, claimed: ClaimedDelivery, next_try: datetime) -> Awaitable[None]:
        """Try it again then. Changes nothing if somebody else has claimed it meanwhile."""

    def give_back(self, claimed: ClaimedDelivery, now: datetime) -> Awaitable[None]:
        """It was not sent after all: it is due, with as many tries as before."""

    def park(self, claimed: ClaimedDelivery) -> Awaitable[None]:
        """Give it up. It stays for an operator."""

    def backlog(self) -> Backlog:
        """May be called from any thread, and blocks it."""


class Sent(msgspec.Struct, frozen=True):
    """What became of a delivery: the status of the answer, or 0 and why there is none. `is_refused`:
    no further try can help as long as this service stays as it is."""

    status: int
    detail: str = ""
    is_refused: bool = False

    @property
    def has_arrived(self) -> bool:
        return 200 <= self.status <= 299


class Sender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """POST a JSON body to a URL. Whatever goes wrong is the answer, and never an exception. It takes
        no longer than `SEND_SECONDS`."""


SEND_SECONDS = 15.0
"""The time from the first word to the status of the answer."""
