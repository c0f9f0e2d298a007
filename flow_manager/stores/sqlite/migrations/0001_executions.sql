-- Flow definitions by the SHA-256 of their canonical text; executions keep the one they started with.
CREATE TABLE definitions (
    digest  BLOB PRIMARY KEY,
    flow_id TEXT NOT NULL,
    text    TEXT NOT NULL
) WITHOUT ROWID, STRICT;

-- One row per execution, written when it starts and when it ends. Ids are UUIDv7, so new rows
-- go to the right edge of the tree. Times are microseconds since 1970, UTC. The checksum of the
-- start is over id, digest, flow_id and started_at; that of id, status and ended_at is added at the end.
CREATE TABLE executions (
    id         BLOB PRIMARY KEY,
    digest     BLOB NOT NULL,
    status     TEXT,              -- null until it has ended
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    checksum   INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Most executions complete, so a page of those is found by walking back from the newest; the
-- others are found here.
CREATE INDEX executions_not_completed ON executions (status, id) WHERE status <> 'completed';

-- Exactly one row per execution that has not ended: what will move it on. `epoch` fences writers,
-- `last_seq` is the number of its last event.
CREATE TABLE wakes (
    execution_id BLOB PRIMARY KEY,
    reason       TEXT NOT NULL,
    due_at       INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    detail       TEXT NOT NULL
) WITHOUT ROWID, STRICT;

-- Only waiting executions are in this index, so a running one never pays for it.
CREATE INDEX wakes_due ON wakes (due_at) WHERE reason = 'due';

-- The truth, append-only: the events of a step, number `seq` to `last_seq`, as JSON, one per line.
-- The checksum is over the lines and their place.
CREATE TABLE history (
    execution_id BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    events       TEXT NOT NULL,
    checksum     INTEGER NOT NULL,
    PRIMARY KEY (execution_id, seq)
) WITHOUT ROWID, STRICT;

CREATE TABLE properties (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID, STRICT;
