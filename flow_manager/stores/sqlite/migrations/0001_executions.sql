-- Flow definitions by the digest of their canonical text; executions keep the one they started with.
CREATE TABLE definitions (
    digest  TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    text    TEXT NOT NULL
) WITHOUT ROWID;

-- One row per execution, written when it starts and when it ends. Ids are UUIDv7, so new rows
-- go to the right edge of the tree. Times are microseconds since 1970, UTC.
CREATE TABLE executions (
    id         BLOB PRIMARY KEY,
    flow_id    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    status     TEXT,              -- null until it has ended
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) WITHOUT ROWID;

-- Exactly one row per execution that has not ended: what will move it on. `epoch` fences writers,
-- `last_seq` is the number of its last event.
CREATE TABLE wakes (
    execution_id BLOB PRIMARY KEY,
    reason       TEXT NOT NULL,
    due_at       INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    detail       TEXT NOT NULL
) WITHOUT ROWID;

-- Only waiting executions are in this index, so a running one never pays for it.
CREATE INDEX wakes_due ON wakes (due_at) WHERE reason = 'due';

-- The truth: events as JSON text, append-only.
CREATE TABLE history (
    execution_id BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    event        TEXT NOT NULL,
    PRIMARY KEY (execution_id, seq)
) WITHOUT ROWID;

CREATE TABLE properties (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
