"""G22: a database of an earlier version is brought up to date, with what was under way in it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import apsw
import pytest

from flow_manager.core.events import encode_event
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import StoreError
from flow_manager.stores.migrations import load_migrations
from flow_manager.stores.sqlite.file import APPLICATION_ID, newest_version
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.engine import engine
from tests.support.executions import NOW, mail_to
from tests.support.service import ROOT

MIGRATIONS = load_migrations("flow_manager.stores.sqlite")
RELEASED: Final = {1: "1043c17315ee1fa4ef18be719afe9a9a258065a708a01076b2cc76e6daf55fc1"}
"""SHA-256 of the migrations by which somebody's database has been made: they are never edited."""

SCHEMA: Final = [
    "index children_open ON children (parent, run, attempt) WHERE status IS NULL",
    "index definitions_of_flow ON definitions (flow_id)",
    "index executions_not_completed ON executions (status, id) WHERE status <> 'completed'",
    "index executions_of_flow ON executions (digest, id)",
    "index executions_with_error ON executions (error, id) WHERE error IS NOT NULL",
    "index fires_by_age ON fires (at)",
    "index fires_of_execution ON fires (execution_id) WHERE execution_id IS NOT NULL",
    "index fires_queued ON fires (schedule_id) WHERE outcome = 'queued'",
    "index fires_started ON fires (schedule_id, nominal, execution_id) WHERE execution_id IS NOT NULL",
    "index keys_of_execution ON keys (execution_id)",
    "index labels_by_value ON labels (name, value, execution_id)",
    "index outbox_due ON outbox (destination, next_try) WHERE is_parked = 0",
    "index outbox_parked ON outbox (execution_id) WHERE is_parked = 1",
    "index remains_due ON remains (due_at)",
    "index schedules_due ON schedules (next_at) WHERE is_paused = 0 AND next_at IS NOT NULL",
    "index slots_of_execution ON slots (execution_id)",
    "index versions_by_digest ON versions (digest)",
    "index wakes_by_reason ON wakes (reason, execution_id) WHERE reason <> 'claim'",
    "index wakes_due ON wakes (priority, due_at) WHERE reason IN ('due', 'signal', 'children')",
    "index wakes_ending ON wakes (reason, execution_id) WHERE is_ending = 1",
    "index wakes_for_slot ON wakes (detail, priority, execution_id) WHERE reason = 'slot'",
    "table children (parent BLOB NOT NULL, run INTEGER NOT NULL, attempt INTEGER NOT NULL, place INTEGER "
    "NOT NULL, child BLOB NOT NULL, status TEXT, ended TEXT, PRIMARY KEY (parent, run, attempt, place)) "
    "WITHOUT ROWID, STRICT",
    "table definitions (digest BLOB PRIMARY KEY, flow_id TEXT NOT NULL, text TEXT NOT NULL) WITHOUT "
    "ROWID, STRICT",
    "table executions (id BLOB PRIMARY KEY, digest BLOB NOT NULL, status TEXT, started_at INTEGER NOT "
    "NULL, ended_at INTEGER, checksum INTEGER NOT NULL, error TEXT, lives INTEGER NOT NULL DEFAULT 1) "
    "WITHOUT ROWID, STRICT",
    "table families (parent BLOB NOT NULL, run INTEGER NOT NULL, attempt INTEGER NOT NULL, started "
    "INTEGER NOT NULL, ended INTEGER NOT NULL, completed INTEGER NOT NULL, bytes INTEGER NOT NULL, "
    "PRIMARY KEY (parent, run, attempt)) WITHOUT ROWID, STRICT",
    "table fires (schedule_id TEXT NOT NULL, nominal INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT "
    "NOT NULL, execution_id BLOB, PRIMARY KEY (schedule_id, nominal)) WITHOUT ROWID, STRICT",
    "table flows (id TEXT PRIMARY KEY, newest INTEGER NOT NULL, is_deleted INTEGER NOT NULL DEFAULT 0, "
    "changed_at INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table history (execution_id BLOB NOT NULL, seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, events "
    "TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (execution_id, seq)) WITHOUT ROWID, STRICT",
    "table keys (key TEXT PRIMARY KEY, execution_id BLOB NOT NULL, fingerprint BLOB NOT NULL, made_at "
    "INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table labels (execution_id BLOB NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY "
    "(execution_id, name)) WITHOUT ROWID, STRICT",
    "table mail (execution_id BLOB NOT NULL, number INTEGER NOT NULL, sent_at INTEGER NOT NULL, kind TEXT "
    "NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL, sender TEXT NOT NULL, PRIMARY KEY "
    "(execution_id, number)) WITHOUT ROWID, STRICT",
    "table outbox (execution_id BLOB NOT NULL, destination TEXT NOT NULL, seq INTEGER NOT NULL, "
    "delivery_id TEXT NOT NULL, payload TEXT NOT NULL, secret TEXT, next_try INTEGER NOT NULL, tries "
    "INTEGER NOT NULL, is_parked INTEGER NOT NULL, PRIMARY KEY (execution_id, destination, seq)) WITHOUT "
    "ROWID, STRICT",
    "table properties (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT",
    "table rates (flow_id TEXT PRIMARY KEY, free_at INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table remains (execution_id BLOB PRIMARY KEY, due_at INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table schedules (id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL, is_paused "
    "INTEGER NOT NULL, cursor INTEGER, next_at INTEGER, zone_data TEXT NOT NULL, changed_at INTEGER NOT "
    "NULL) WITHOUT ROWID, STRICT",
    "table slot_limits (key TEXT PRIMARY KEY, most INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table slots (key TEXT NOT NULL, execution_id BLOB NOT NULL, PRIMARY KEY (key, execution_id)) WITHOUT "
    "ROWID, STRICT",
    "table tallies (status TEXT PRIMARY KEY, ended INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    "table versions (flow_id TEXT NOT NULL, version INTEGER NOT NULL, digest BLOB NOT NULL, published_at "
    "INTEGER NOT NULL, publisher TEXT NOT NULL, PRIMARY KEY (flow_id, version)) WITHOUT ROWID, STRICT",
    "table wakes (execution_id BLOB PRIMARY KEY, reason TEXT NOT NULL, due_at INTEGER NOT NULL, epoch "
    "INTEGER NOT NULL, last_seq INTEGER NOT NULL, detail TEXT NOT NULL, mail INTEGER NOT NULL DEFAULT 0, "
    "is_ending INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID, STRICT",
]

# What version 1 wrote, letter by letter.
FLOW = json.dumps(document(task("a"), task("b"), flow_id="old")["flow"], separators=(",", ":"))
DIGEST = sha256(FLOW.encode()).digest()
MICROS = 1_767_268_800_000_000
AT = '"at":"2026-01-01T12:00:00Z"'
BEGAN = '{"type":"execution_started",' + AT + ',"flow_id":"old","input":{"n":1},"labels":{"team":"a"}}'
STARTED = '{"type":"attempt_started",' + AT + ',"task":"task1"}'
SUCCEEDED = '{"type":"attempt_ended",' + AT + ',"task":"task1","message":"done","data":{"n":1}}'
FAILED = '{"type":"attempt_ended",' + AT + ',"task":"task1","outcome":"failure"}'
ROUTED = '{"type":"routed",' + AT + ',"task":"task1","to":"task2","condition":"condition1"}'
NEXT = '{"type":"attempt_started",' + AT + ',"task":"task2","run":2}'
LAST = '{"type":"attempt_ended",' + AT + ',"task":"task2","run":2}'
QUARANTINED = '{"type":"execution_quarantined",' + AT + ',"task":"task1","reason":"lost"}'
COMPLETED = '{"type":"execution_ended",' + AT + "}"
DID_NOT = '{"type":"execution_ended",' + AT + ',"status":"failed"}'

OPEN: Final = {
    "running": (UUID(int=1 << 120), "claim", "", [BEGAN, STARTED]),
    "further on": (UUID(int=2 << 120), "claim", "", [BEGAN, STARTED, SUCCEEDED, ROUTED, NEXT]),
    "due": (UUID(int=3 << 120), "due", "", [BEGAN]),
    "without code": (UUID(int=4 << 120), "code", "b", [BEGAN, STARTED, SUCCEEDED, ROUTED]),
    "quarantined": (UUID(int=5 << 120), "quarantine", "lost", [BEGAN, STARTED, QUARANTINED]),
    "in need of repair": (UUID(int=6 << 120), "repair", "gone", [BEGAN, STARTED]),
}
ENDED: Final = {
    "completed": (UUID(int=7 << 120), [BEGAN, STARTED, SUCCEEDED, ROUTED, NEXT, LAST, COMPLETED]),
    "failed": (UUID(int=8 << 120), [BEGAN, STARTED, FAILED, DID_NOT]),
}
HISTORIES = {key: events for key, _, _, events in OPEN.values()} | dict(ENDED.values())


def old_database(path: Path) -> Path:
    """A database as version 1 left it behind when it was killed."""
    connection = apsw.Connection(str(path))
    connection.pragma("auto_vacuum", "incremental")
    connection.pragma("journal_mode", "wal")
    connection.execute(f"BEGIN; {MIGRATIONS[0].sql}; PRAGMA user_version = 1")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; COMMIT")
    connection.execute("INSERT INTO properties VALUES ('clean_stop', '0')")
    connection.execute("INSERT INTO definitions VALUES (?, 'old', ?)", (DIGEST, FLOW))
    for key, reason, detail, events in OPEN.values():
        row = (key.bytes, reason, MICROS, 3, len(events), detail)
        connection.execute("INSERT INTO wakes VALUES (?, ?, ?, ?, ?, ?)", row)
        _insert(connection, key.bytes, events, None)
    for status, (key, events) in ENDED.items():
        _insert(connection, key.bytes, events, status)
    connection.close()
    return path


def _insert(connection: apsw.Connection, key: bytes, events: Sequence[str], status: str | None) -> None:
    """Each event is a step of its own."""
    checksum = _checksum(b"%b%b%b %d" % (key, DIGEST, b"old", MICROS))
    if status is not None:
        checksum += _checksum(b"%b%b %d" % (key, status.encode(), MICROS))
    row = (key, DIGEST, status, MICROS, None if status is None else MICROS, checksum)
    connection.execute("INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?)", row)
    for seq, event in enumerate(events, 1):
        row_of_event = (key, seq, seq, event, _checksum(event.encode(), zlib.crc32(key, seq)))
        connection.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?)", row_of_event)


def _checksum(content: bytes, before: int = 0) -> int:
    return zlib.crc32(content, before) - (1 << 31)


def schema_of(path: Path) -> list[str]:
    """Everything that is declared, but for comments and spaces."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[Any] = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    ).fetchall()
    connection.close()
    declared = []
    for kind, name, sql in rows:
        words = " ".join(re.sub(r"--.*", "", sql).split()).removeprefix(f"CREATE {kind.upper()} {name} ")
        declared.append(f"{kind} {name} " + re.sub(r"\( | (?=[,)])", lambda found: found[0].strip(), words))
    return declared


def version_of(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    version: int = connection.pragma("user_version")
    connection.close()
    return version


def opened(path: Path) -> dict[UUID, ExecutionStatus]:
    """What a store of this version finds in it."""

    async def scenario() -> dict[UUID, ExecutionStatus]:
        store = SqliteStore(path)
        found = {UUID(each.execution_id): each.status for each in store.executions()}
        for key, events in HISTORIES.items():
            assert [encode_event(event) for event in store.history(str(key))] == events
        assert list(store.violations()) == []
        await store.stop()
        return found

    return asyncio.run(scenario())


# -- the schema


def test_migrations_are_numbered_one_by_one() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, newest_version() + 1))


def test_a_migration_that_was_released_is_never_edited() -> None:
    found = {migration.number: sha256(migration.sql.encode()).hexdigest() for migration in MIGRATIONS}

    assert {number: found[number] for number in RELEASED} == RELEASED


def test_all_migrations_together_make_this_schema(tmp_path: Path) -> None:
    asyncio.run(SqliteStore(tmp_path / "a.db").stop())

    assert schema_of(tmp_path / "a.db") == SCHEMA
    assert version_of(tmp_path / "a.db") == newest_version()


def test_an_old_database_is_brought_to_the_same_schema(tmp_path: Path) -> None:
    old = old_database(tmp_path / "a.db")

    asyncio.run(SqliteStore(old).stop())

    assert schema_of(old) == SCHEMA
    assert version_of(old) == newest_version()


def test_a_database_that_is_up_to_date_is_left_as_it_is(tmp_path: Path) -> None:
    old = old_database(tmp_path / "a.db")
    asyncio.run(SqliteStore(old).stop())
    before = apsw.Connection(str(old)).pragma("schema_version")

    asyncio.run(SqliteStore(old).stop())

    assert apsw.Connection(str(old)).pragma("schema_version") == before


# -- what is in it


def test_an_old_database_keeps_its_executions(tmp_path: Path) -> None:
    assert opened(old_database(tmp_path / "a.db")) == {
        OPEN["running"][0]: ExecutionStatus.RUNNING,
        OPEN["further on"][0]: ExecutionStatus.RUNNING,
        OPEN["due"][0]: ExecutionStatus.WAITING,
        OPEN["without code"][0]: ExecutionStatus.WAITING,
        OPEN["quarantined"][0]: ExecutionStatus.QUARANTINED,
        OPEN["in need of repair"][0]: ExecutionStatus.NEEDS_REPAIR,
        ENDED["completed"][0]: ExecutionStatus.COMPLETED,
        ENDED["failed"][0]: ExecutionStatus.FAILED,
    }


def test_what_was_under_way_in_an_old_database_goes_on_to_its_end(tmp_path: Path) -> None:
    async def scenario() -> dict[str, list[str]]:
        async with engine(old_database(tmp_path / "a.db")) as running:
            await running.look()
            assert list(running.store.violations()) == []
            views = {what: running.store.describe(str(key)) for what, (key, *_) in OPEN.items()}
            assert all(view.input == {"n": 1} for view in views.values())
            return {
                what: [entry.status for entry in view.attempts]
                for what, view in views.items()
                if view.is_ended
            }

    ended = asyncio.run(scenario())

    assert ended == {
        "running": ["lost", "success", "success"],
        "further on": ["success", "lost", "success"],
        "due": ["success", "success"],
        "without code": ["success", "success"],
    }


def test_what_waits_in_an_old_database_can_be_sent_something(tmp_path: Path) -> None:
    quarantined = str(OPEN["quarantined"][0])

    async def scenario() -> ExecutionStatus:
        async with engine(old_database(tmp_path / "a.db")) as running:
            await running.orchestrator.send(mail_to(quarantined, "cancel", "no use"))
            await running.look()
            return running.store.describe(quarantined).status

    assert asyncio.run(scenario()) is ExecutionStatus.CANCELLED


# -- a migration that is interrupted


@contextmanager
def interrupted(at: int, how: Callable[[], int]) -> Iterator[list[int]]:
    """Within a transaction, the statement that is allowed to do its `at`th thing is the last one. The
    answer counts the things."""
    allowed = [0]

    def hook(connection: apsw.Connection) -> None:
        def authorize(*_: Any) -> int:
            if not connection.in_transaction:
                return apsw.SQLITE_OK
            allowed[0] += 1
            return how() if allowed[0] == at else apsw.SQLITE_OK

        connection.authorizer = authorize

    apsw.connection_hooks.append(hook)
    try:
        yield allowed
    finally:
        apsw.connection_hooks.remove(hook)


def test_wherever_a_migration_is_interrupted_nothing_of_it_is_left(tmp_path: Path) -> None:
    old = old_database(tmp_path / "a.db")
    schemas, at, tries = {1: schema_of(old)}, 0, 0
    while (version := version_of(old)) < newest_version():
        at, tries = at + 1, tries + 1
        with interrupted(at, lambda: apsw.SQLITE_DENY), suppress(StoreError):
            asyncio.run(SqliteStore(old).stop())
        if schemas.setdefault(version_of(old), schema_of(old)) != schemas[version]:
            at = 0
        assert schema_of(old) == schemas[version_of(old)]

    assert tries > 50
    assert schema_of(old) == SCHEMA
    assert len(opened(old)) == len(HISTORIES)


KILLED = """
import os, sys
from pathlib import Path
from flow_manager.stores.sqlite.store import SqliteStore
from tests.migration.test_migrations import interrupted
with interrupted(int(sys.argv[2]), lambda: os._exit(9)):
    SqliteStore(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", [1, 20, 40, 60])
def test_a_migration_that_was_killed_half_way_is_made_at_the_next_start(tmp_path: Path, at: int) -> None:
    old = old_database(tmp_path / "a.db")
    before = schema_of(old)

    killed = subprocess.run([sys.executable, "-c", KILLED, str(old), str(at)], cwd=ROOT, check=False)

    assert killed.returncode == 9
    assert (version_of(old), schema_of(old)) == (1, before)
    assert len(opened(old)) == len(HISTORIES)
    assert schema_of(old) == SCHEMA


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_the_newest_migration_that_was_killed_half_way_is_made_at_the_next_start(
    tmp_path: Path, share: float
) -> None:
    old, counted = last_but_one(tmp_path / "a.db"), last_but_one(tmp_path / "b.db")
    before = schema_of(old)
    with interrupted(0, lambda: apsw.SQLITE_OK) as allowed:
        asyncio.run(SqliteStore(counted).stop())
    at = str(1 + int(share * allowed[0]))

    killed = subprocess.run([sys.executable, "-c", KILLED, str(old), at], cwd=ROOT, check=False)

    assert killed.returncode == 9
    assert (version_of(old), schema_of(old)) == (newest_version() - 1, before)
    assert len(opened(old)) == len(HISTORIES)
    assert schema_of(old) == SCHEMA


def last_but_one(path: Path) -> Path:
    """The old database, as the version before this one would have left it."""
    connection = apsw.Connection(str(old_database(path)))
    for migration in MIGRATIONS[1:-1]:
        connection.execute(f"BEGIN; {migration.sql}; PRAGMA user_version = {migration.number}; COMMIT")
    connection.close()
    return path


def test_times_of_an_old_database_mean_what_they_meant(tmp_path: Path) -> None:
    async def scenario() -> list[object]:
        store = SqliteStore(old_database(tmp_path / "a.db"))
        summaries = store.executions(status=ExecutionStatus.COMPLETED)
        await store.stop()
        return [(each.flow_id, each.started_at, each.ended_at) for each in summaries]

    assert asyncio.run(scenario()) == [("old", NOW, NOW)]
