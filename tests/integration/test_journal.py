"""Where the journal writes: on its own thread, or, for a command that comes alone, on the loop's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

from flow_manager.errors import StoreLocked
from flow_manager.stores.journal import SLOW_WRITE, Journal

WRITER = "flow-manager-journal"


class NotingLedger:
    """Notes which thread wrote how many commands."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, int]] = []
        self.seconds = 0.0
        self.is_locked_here = False

    def write(self, batch: Sequence[str]) -> list[Any]:
        name = threading.current_thread().name
        if self.is_locked_here and name != WRITER:
            raise StoreLocked("somebody else")
        time.sleep(self.seconds)
        self.writes.append((name, len(batch)))
        return list(batch)

    def close(self) -> None: ...

    @property
    def threads(self) -> list[str]:
        return [WRITER if name == WRITER else "loop" for name, _ in self.writes]


async def alone(journal: Journal[str], times: int) -> list[str]:
    """Commands that each come when the one before is done, and the writer has gone to sleep."""
    answers = []
    for number in range(times):
        await asyncio.sleep(0.01)
        answers.append(await journal.submit(str(number), urgent=True, is_small=True))
    return answers


def run(ledger: NotingLedger, times: int = 4, together: int = 0) -> list[str]:
    async def scenario() -> list[str]:
        faults: list[BaseException] = []
        journal: Journal[str] = Journal(ledger, asyncio.get_running_loop(), faults.append)
        answers = await alone(journal, times)
        answers += await asyncio.gather(
            *(journal.submit(f"together {number}", urgent=True, is_small=True) for number in range(together))
        )
        await journal.stop()
        assert faults == []
        return answers

    return asyncio.run(scenario())


def test_a_command_that_comes_alone_is_written_on_the_loop() -> None:
    ledger = NotingLedger()

    answers = run(ledger)

    assert answers == ["0", "1", "2", "3"]
    assert ledger.threads == [WRITER, "loop", "loop", "loop"]


def test_commands_that_come_together_share_a_transaction() -> None:
    ledger = NotingLedger()

    answers = run(ledger, together=20)

    assert len(answers) == 24
    assert sum(size for _, size in ledger.writes) == 24
    assert max(size for _, size in ledger.writes) >= 10


def test_after_a_slow_write_the_loop_writes_no_more_for_a_while() -> None:
    ledger = NotingLedger()
    ledger.seconds = 2 * SLOW_WRITE

    run(ledger)

    assert ledger.threads == [WRITER, "loop", WRITER, WRITER]


def test_for_somebody_elses_lock_the_writer_waits_and_not_the_loop() -> None:
    ledger = NotingLedger()
    ledger.is_locked_here = True

    answers = run(ledger)

    assert answers == ["0", "1", "2", "3"]
    assert ledger.threads == [WRITER] * 4
