from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from flow_manager.core.states import Wake, WakeReason
from flow_manager.engine.rescuer import Rescuer
from flow_manager.errors import StaleClaim
from flow_manager.ports.store import Claim
from tests.support.fakes import FakeClock


class ClaimingStore:
    """Holds claims, and notes which were let go of."""

    def __init__(self, *names: str) -> None:
        self.held = {name: Claim(name, name.encode(), 1) for name in names}
        self.freed: list[tuple[str, WakeReason]] = []

    def claims(self) -> Sequence[Claim]:
        return list(self.held.values())

    async def set_aside(self, claim: Claim, wake: Wake) -> None:
        if self.held.get(claim.execution_id) != claim:
            raise StaleClaim("moved on")
        del self.held[claim.execution_id]
        self.freed.append((claim.execution_id, wake.reason))


def rescuer(store: Any, driven: set[str]) -> Rescuer:
    return Rescuer(store, FakeClock(), driven)


def test_what_is_claimed_and_not_driven_twice_in_a_row_is_made_due() -> None:
    async def scenario() -> list[int]:
        it = rescuer(store, {"a"})
        return [await it.look() for _ in range(3)]

    store = ClaimingStore("a", "b")
    rescued = asyncio.run(scenario())

    assert rescued == [0, 1, 0]
    assert store.freed == [("b", WakeReason.DUE)]


def test_what_is_being_handed_over_is_left_alone() -> None:
    async def scenario() -> int:
        driven: set[str] = set()
        it = rescuer(store, driven)
        await it.look()
        driven.add("a")
        return await it.look()

    store = ClaimingStore("a")

    assert asyncio.run(scenario()) == 0
    assert store.freed == []


def test_a_claim_that_was_renewed_between_two_looks_is_not_the_same_stray() -> None:
    async def scenario() -> int:
        it = rescuer(store, set())
        await it.look()
        store.held["a"] = Claim("a", b"a", 2)
        return await it.look()

    store = ClaimingStore("a")

    assert asyncio.run(scenario()) == 0
