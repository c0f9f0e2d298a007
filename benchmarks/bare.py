"""The bare limit: the rows that the engine wrote, written again by a loop without an engine.

One finished execution is read back from the engine's own file; its rows, under new ids, are
then written with the same statements, settings and syncs, in batches of the same size.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
from uuid_utils import uuid7

from flow_manager.stores.sqlite.batches import Row, StepWriter
from flow_manager.stores.sqlite.file import open_writer
from flow_manager.stores.sqlite.reader import STATEMENTS
from flow_manager.stores.sqlite.write_ahead_log import PASSIVE_CHECKPOINT

Commit = tuple[int, int, str, int]
"""The row of events that one transaction added: first number, last number, text, checksum."""

CHECKSUM = 1 << 29
"""As many bytes as a real one."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the engine wrote for one execution, by transaction."""

    flow_id: str
    digest: bytes
    definition: str
    commits: Sequence[Commit]

    @classmethod
    def of(cls, database: Path, execution_id: str) -> Recorded:
        """One row of events per transaction."""
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        key = UUID(execution_id).bytes
        flow_id, digest, text = connection.execute(
            "SELECT flow_id, digest, text FROM executions JOIN definitions USING (digest) WHERE id = ?",
            (key,),
        ).get
        rows: Iterable[Any] = connection.execute(
            "SELECT seq, last_seq, events, checksum FROM history WHERE execution_id = ? ORDER BY seq", (key,)
        )
        commits: list[Commit] = list(rows)
        connection.close()
        return cls(flow_id, digest, text, commits)


class BareLoop:
    """Writes the rows of executions, without deciding anything."""

    def __init__(self, folder: Path, recorded: Recorded) -> None:
        self._db = open_writer(folder / "bare.db", "full", STATEMENTS)
        self._steps = StepWriter(self._db, STATEMENTS)
        self._recorded = recorded
        self._log_pages = 0
        self._db.set_wal_hook(self._note_log_size)
        self._db.execute(
            STATEMENTS["add_definition"], (recorded.digest, recorded.flow_id, recorded.definition)
        )

    def flows_per_second(self, flows: int, at_once: int) -> float:
        """`at_once` executions go through their transactions side by side, each shared by all."""
        began = time.perf_counter()
        for _ in range(0, flows, at_once):
            self._write([uuid7().bytes for _ in range(at_once)])
        return flows / (time.perf_counter() - began)

    def seconds_per_flow(self, flows: int) -> list[float]:
        """One execution after another, each transaction synced for itself."""
        taken = []
        for _ in range(flows):
            began = time.perf_counter()
            self._write([uuid7().bytes])
            taken.append(time.perf_counter() - began)
        return taken

    def leave_open(self, keys: Sequence[bytes]) -> None:
        """Executions as a crash leaves them: all transactions but the last."""
        self._write(keys, leave_out=1)

    def _write(self, keys: Sequence[bytes], leave_out: int = 0) -> None:
        commits = self._recorded.commits
        for number, commit in enumerate(commits[: len(commits) - leave_out]):
            self._steps.write(self._rows(keys, commit, is_last=number == len(commits) - 1))
            if self._log_pages >= PASSIVE_CHECKPOINT:
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _rows(self, keys: Sequence[bytes], commit: Commit, *, is_last: bool) -> list[Row]:
        """In the order of `steps.sql`."""
        seq, last_seq, events, checksum = commit
        now = time.time_ns() // 1000
        kind, digest = ("start", self._recorded.digest) if seq == 1 else ("end" if is_last else "move", None)
        wake: Row = (None, None, last_seq, None, 0) if is_last else ("claim", now, last_seq, "", 0)
        status, ended_at = ("completed", now) if is_last else (None, None)
        rest: Row = (*wake, status, ended_at, None, CHECKSUM, digest, now, None, events, checksum)
        return [(kind, key, 1, seq - 1, 0, *rest) for key in keys]

    def _note_log_size(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def close(self) -> None:
        self._db.close()
