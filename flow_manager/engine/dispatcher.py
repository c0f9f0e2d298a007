"""The dispatcher: sends what the outbox holds, and forgets what has arrived.

Everything arrives at least once: a delivery leaves the outbox only after its destination has taken it,
and whoever dies in between leaves it to whoever finds it due again. A slow destination holds up no
other: each has so many places of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from flow_manager.engine.lookout import Lookout
from flow_manager.engine.signing import signed_headers
from flow_manager.errors import FlowManagerError
from flow_manager.ports.clock import Clock
from flow_manager.ports.webhooks import ClaimedDelivery, Outbox, Sender, Sent

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 64
MOST_TO_ONE: Final = 4
"""Deliveries to one destination that are on their way at once."""
MOST_DESTINATIONS: Final = 1_000
"""Destinations that one look sees."""
LEASE: Final = timedelta(seconds=60)
"""How long a claimed delivery is nobody else's: four times what sending may take."""
LONGEST_NAP: Final = 1.0
"""Seconds between two looks, whatever was or was not announced."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 300.0
MOST_TRIES: Final = 12
"""With waits of half their bound on average, some ten minutes."""
FLUSH: Final = 2.0
"""Seconds that a stop leaves for what is still to be sent."""
GONE: Final = 410
"""The status by which a destination asks never to be told again."""


class Dispatcher:
    """`secrets` are the values of secrets by name. `chance` gives random numbers in [0, 1). `wall` is the
    time of the wall in seconds since 1970: receivers compare the time of a delivery with theirs, and the
    engine's clock may be behind."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        clock: Clock,
        secrets: Mapping[str, str],
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._secrets = secrets
        self._chance = chance
        self._wall = wall
        self._lookout = Lookout("looking for deliveries", self.look, LONGEST_NAP)
        self._under_way: dict[asyncio.Task[None], ClaimedDelivery] = {}
        self._seen_last = ""
        self._running: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter(dict.fromkeys(("delivered", "failed", "parked"), 0))
        """What became of tries to send."""

    @property
    def under_way(self) -> int:
        """How many deliveries are being sent."""
        return len(self._under_way)

    def nudge(self) -> None:
        """Something may be due now."""
        self._lookout.nudge()

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._running = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """Look until stopped."""
        await self._lookout.run()

    async def look(self) -> float:
        """Claim what is due, as far as there are places, and begin to send it; the answer is how long to wait
        before the next look, in seconds."""
        now = self._clock.now()
        wanted = self._wanted(now) if len(self._under_way) < MOST_AT_ONCE else {}
        if not wanted:
            return LONGEST_NAP
        claimed = await self._outbox.claim(now, now + LEASE, wanted)
        for each in claimed:
            task = asyncio.get_running_loop().create_task(self._deliver(each))
            self._under_way[task] = each
            task.add_done_callback(self._done)
        return 0.0 if claimed else LONGEST_NAP

    def _wanted(self, now: datetime) -> dict[str, int]:
        """How many deliveries to claim for each destination; those behind the last one that had its turn
        come first, so that all have one."""
        due = self._outbox.due(now, MOST_DESTINATIONS)
        if not due:
            return {}
        taken = Counter(each.delivery.destination for each in self._under_way.values())
        free = MOST_AT_ONCE - len(self._under_way)
        wanted: dict[str, int] = {}
        for destination in sorted(due, key=lambda each: (each <= self._seen_last, each)):
            places = min(MOST_TO_ONE - taken[destination], free)
            if places > 0:
                wanted[destination] = places
                free -= places
        self._seen_last = next(reversed(wanted), self._seen_last)
        return wanted

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self.nudge()

    async def _deliver(self, claimed: ClaimedDelivery) -> None:
        """The edge of a delivery: whatever goes wrong, it is due again when its lease is over."""
        try:
            sent = await self._send(claimed)
            await self._settle(claimed, sent)
        except FlowManagerError as error:
            log.warning("what became of delivery %s was not recorded: %s", _name(claimed), error)
        except Exception:
            log.exception("delivery %s failed", _name(claimed))

    async def _send(self, claimed: ClaimedDelivery) -> Sent:
        delivery = claimed.delivery
        body, secret = delivery.payload.encode(), None
        if delivery.secret is not None:
            secret = self._secrets.get(delivery.secret)
            if secret is None:
                return Sent(0, f"there is no secret named {delivery.secret}", is_refused=True)
        headers = signed_headers(delivery.delivery_id, int(self._wall()), body, secret)
        return await self._sender.send(delivery.destination, headers, body)

    async def _settle(self, claimed: ClaimedDelivery, sent: Sent) -> None:
        if sent.has_arrived:
            self.counts["delivered"] += 1
            await self._outbox.delivered(claimed)
            return
        self.counts["failed"] += 1
        why = sent.detail or f"the answer has the status {sent.status}"
        if sent.is_refused or sent.status == GONE or claimed.tries + 1 >= MOST_TRIES:
            self.counts["parked"] += 1
            log.error("delivery %s is given up after %d tries: %s", _name(claimed), claimed.tries + 1, why)
            await self._outbox.park(claimed)
            return
        wait = self._chance() * min(LONGEST_WAIT, FIRST_WAIT * 2**claimed.tries)
        log.warning("delivery %s failed, and is tried again in %.1f s: %s", _name(claimed), wait, why)
        await self._outbox.failed(claimed, self._clock.now() + timedelta(seconds=wait))

    async def stop(self, hurry: asyncio.Event) -> None:
        """Send what is due now, for a moment, unless somebody is in a hurry; then give the rest back."""
        self._lookout.stop()
        if self._running is not None:  # what it is just claiming must not be left behind
            await asyncio.wait([self._running], timeout=FLUSH)
        with contextlib.suppress(FlowManagerError):
            await self._flush(hurry)
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(list(left), timeout=FLUSH)
        for claimed in left.values():
            with contextlib.suppress(FlowManagerError):
                await self._outbox.give_back(claimed, self._clock.now())

    async def _flush(self, hurry: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + FLUSH
        while not hurry.is_set() and (seconds := until - loop.time()) > 0:
            await self.look()
            if not self._under_way:
                return
            await asyncio.wait(self._under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _name(claimed: ClaimedDelivery) -> str:
    """Without the query of its destination, which may hold a credential."""
    destination = claimed.delivery.destination.partition("?")[0]
    return f"{claimed.delivery.delivery_id} to {destination}"
