"""A process in which many write to one store at once, until it is killed or its disk fails:
`python -m tests.support.committers DATABASE EXECUTIONS FAULT`. The fault is `-`, or as
`Fault.named` reads it. Prints a line for each acknowledged write: the execution, and how many
events it has. Exits with 74 if the store asks for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from unittest.mock import patch

from flow_manager.errors import OutcomeUnknown, StoreFull
from flow_manager.ports.store import Step
from flow_manager.stores.sqlite import write_ahead_log
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.executions import NOW, last_step, new_execution, next_events, step
from tests.support.faulty_disk import Fault, FaultyDisk

WRITERS = 64
DIED = 74


def die(_: BaseException) -> None:
    os._exit(DIED)


def acknowledged(execution_id: str, events: int) -> None:
    os.write(1, f"{execution_id} {events}\n".encode())


async def write(store: SqliteStore) -> None:
    new = new_execution()
    while True:
        try:
            claim = await store.start(new)
            break
        except StoreFull:
            await asyncio.sleep(0.01)
    acknowledged(claim.execution_id, 2)
    large = "x" * 500
    for part in (
        step(claim, 2, next_events(1, large)),
        step(claim, 5, next_events(2, large)),
        last_step(claim, 8),
    ):
        await commit(store, part)
        acknowledged(claim.execution_id, part.last_seq + len(part.events))


async def commit(store: SqliteStore, part: Step) -> None:
    while True:
        try:
            await store.commit(part)
            return
        except StoreFull:
            await asyncio.sleep(0.01)


async def main(database: Path, executions: int, fault: str) -> None:
    disk = FaultyDisk()
    store = SqliteStore(database)
    await store.open(NOW, die)
    if fault != "-":
        disk.break_at(Fault.named(fault))
    left = iter(range(executions))

    async def writer() -> None:
        for _ in left:
            await write(store)

    try:
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
    except OutcomeUnknown:
        await asyncio.sleep(10)  # the process is about to die; nothing may be said any more
    await store.stop()


if __name__ == "__main__":
    with patch.object(write_ahead_log, "PASSIVE_CHECKPOINT", 64):
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
