"""The edge of the background loops: what happens between two looks, and after one that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from flow_manager.engine.lookout import Lookout
from flow_manager.errors import FlowManagerError, StoreFull

FOR_EVER = 3_600.0


class Looks:
    """Looks that answer with the next of `answers`, raise it, or call it; the last stops the lookout."""

    def __init__(self, *answers: Any, patience: float = 0.0) -> None:
        self.answers = list(answers)
        self.count = 0
        self.refused: list[FlowManagerError] = []
        self.lookout = Lookout("looking for bears", self.look, patience, self.refused.append)

    async def look(self) -> float:
        self.count += 1
        answer = self.answers.pop(0)
        if not self.answers:
            self.lookout.stop()
        if isinstance(answer, Exception):
            raise answer
        return float(answer() if callable(answer) else answer)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 10))


FULL, ODD = StoreFull("no space"), RuntimeError("odd")


@pytest.mark.parametrize(
    ("error", "level", "refused"), [(FULL, logging.WARNING, [FULL]), (ODD, logging.ERROR, [])]
)
def test_a_look_that_fails_is_told_and_does_not_end_the_loop(
    error: Exception, level: int, refused: list[FlowManagerError], caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks(error, 0.0, error, 0.0)

    run(looks.lookout.run())

    assert looks.count == 4
    assert looks.refused == refused * 2
    assert [record.levelno for record in caplog.records] == [level] * 2
    assert caplog.messages[0].startswith("looking for bears failed, trying again")
    assert bool(caplog.records[0].exc_info) is (error is ODD)


def test_a_nap_and_the_patience_after_a_failure_are_slept_to_their_end() -> None:
    async def scenario() -> None:
        began = asyncio.get_running_loop().time()
        await looks.lookout.run(first_nap=0.02)

        assert asyncio.get_running_loop().time() - began >= 0.05

    looks = Looks(0.01, FULL, 0.0, patience=0.02)
    run(scenario())

    assert looks.count == 3


def test_a_nudge_ends_a_nap_also_the_first_and_one_that_comes_during_a_look_is_not_lost() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop().create_task(looks.lookout.run(first_nap=FOR_EVER))
        await asyncio.sleep(0)
        assert looks.count == 0
        looks.lookout.nudge()
        await loop

    def nudged() -> float:
        looks.lookout.nudge()
        return FOR_EVER

    looks = Looks(nudged, nudged, FOR_EVER)
    run(scenario())

    assert looks.count == 3


def test_one_nudge_is_good_for_one_look() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop().create_task(looks.lookout.run())
        await asyncio.sleep(0.01)
        looks.lookout.nudge()
        looks.lookout.nudge()
        await asyncio.sleep(0.01)
        assert looks.count == 2

        looks.lookout.stop()
        await loop

    looks = Looks(FOR_EVER, FOR_EVER, FOR_EVER)
    run(scenario())

    assert looks.count == 2


def test_cancelling_ends_it_in_the_middle_of_a_look() -> None:
    async def stuck() -> float:
        await asyncio.sleep(FOR_EVER)
        return 0.0

    async def scenario() -> None:
        loop = asyncio.get_running_loop().create_task(Lookout("looking", stuck, 0.0).run())
        await asyncio.sleep(0)
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop

    run(scenario())
