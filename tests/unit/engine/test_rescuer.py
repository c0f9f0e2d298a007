from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from flow_manager.core.states import Wake, WakeReason
from flow_manager.engine import rescuer as rescuing
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


def test_a_suspicion_is_looked_into_twice_without_waiting_for_the_regular_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        it = rescuer(store, set())
        loop = asyncio.create_task(it.run())
        it.suspect()
        while not store.freed:
            await asyncio.sleep(0.001)
        loop.cancel()

    monkeypatch.setattr(rescuing, "SUSPICIOUS", 0.001)
    store = ClaimingStore("a")
    asyncio.run(asyncio.wait_for(scenario(), 10))

    assert store.freed == [("a", WakeReason.DUE)]
