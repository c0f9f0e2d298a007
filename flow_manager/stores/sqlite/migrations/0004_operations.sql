-- How many have ended with each status: nobody counts a million rows.
CREATE TABLE tallies (
    status TEXT PRIMARY KEY,
    ended  INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO tallies SELECT status, count(*) FROM executions WHERE status IS NOT NULL GROUP BY status;

-- `error` is the code of the error it failed with; `lives` counts how often it was opened: the epochs of each
-- life are higher than all of those before.
ALTER TABLE executions ADD COLUMN error TEXT;
ALTER TABLE executions ADD COLUMN lives INTEGER NOT NULL DEFAULT 1;
UPDATE executions SET lives = 2 WHERE id IN (SELECT execution_id FROM wakes WHERE epoch >= 4294967296);
CREATE INDEX executions_of_flow ON executions (digest, id);
CREATE INDEX executions_with_error ON executions (error, id) WHERE error IS NOT NULL;

CREATE INDEX definitions_of_flow ON definitions (flow_id);

CREATE TABLE labels (
    execution_id BLOB NOT NULL,
    name         TEXT NOT NULL,
    value        TEXT NOT NULL,
    PRIMARY KEY (execution_id, name)
) WITHOUT ROWID, STRICT;
CREATE INDEX labels_by_value ON labels (name, value, execution_id);

-- `priority` is -1, 0 or 1: of what is due, the highest is taken up first.
ALTER TABLE wakes ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
DROP INDEX wakes_due;
CREATE INDEX wakes_due ON wakes (priority, due_at) WHERE reason IN ('due', 'signal', 'children');
CREATE INDEX wakes_by_reason ON wakes (reason, execution_id) WHERE reason <> 'claim';
CREATE INDEX wakes_ending ON wakes (reason, execution_id) WHERE is_ending = 1;
CREATE INDEX wakes_for_slot ON wakes (detail, priority, execution_id) WHERE reason = 'slot';

-- Who may go on under a key of which only so many may: given back in the transaction in which one ends.
CREATE TABLE slots (
    key          TEXT NOT NULL,
    execution_id BLOB NOT NULL,
    PRIMARY KEY (key, execution_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX slots_of_execution ON slots (execution_id);

-- How many may go on under a key, as the newest start has said; as long as somebody holds a slot of it.
CREATE TABLE slot_limits (
    key  TEXT PRIMARY KEY,
    most INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- One execution for each idempotency key. `fingerprint` is the SHA-256 of what was asked for.
CREATE TABLE keys (
    key          TEXT PRIMARY KEY,
    execution_id BLOB NOT NULL,
    fingerprint  BLOB NOT NULL,
    made_at      INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX keys_of_execution ON keys (execution_id);

-- Published flows. A version never changes.
CREATE TABLE flows (
    id         TEXT PRIMARY KEY,
    newest     INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE versions (
    flow_id      TEXT NOT NULL,
    version      INTEGER NOT NULL,
    digest       BLOB NOT NULL,
    published_at INTEGER NOT NULL,
    publisher    TEXT NOT NULL,
    PRIMARY KEY (flow_id, version)
) WITHOUT ROWID, STRICT;
CREATE INDEX versions_by_digest ON versions (digest);

-- When each flow may be started next, for those that may be started only so often.
CREATE TABLE rates (
    flow_id TEXT PRIMARY KEY,
    free_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- `document` is the schedule as canonical JSON. `cursor` is the last nominal time that was dealt with.
CREATE TABLE schedules (
    id         TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    document   TEXT NOT NULL,
    is_paused  INTEGER NOT NULL,
    cursor     INTEGER,
    next_at    INTEGER,
    zone_data  TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE is_paused = 0 AND next_at IS NOT NULL;

-- What became of each nominal time: at most one execution.
CREATE TABLE fires (
    schedule_id  TEXT NOT NULL,
    nominal      INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    outcome      TEXT NOT NULL,
    execution_id BLOB,
    PRIMARY KEY (schedule_id, nominal)
) WITHOUT ROWID, STRICT;
CREATE INDEX fires_of_execution ON fires (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX fires_started ON fires (schedule_id, nominal, execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX fires_queued ON fires (schedule_id) WHERE outcome = 'queued';
CREATE INDEX fires_by_age ON fires (at);

-- Executions that were pruned and of which something is left: more rows than go in one step, or a key that
-- is too young. They may go at `due_at`.
CREATE TABLE remains (
    execution_id BLOB PRIMARY KEY,
    due_at       INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX remains_due ON remains (due_at);

-- What is to be told to whom, written together with what it tells of. `secret` is the name of the one that signs.
-- Until `next_try` nobody else may send it. Parked: given up, for an operator.
CREATE TABLE outbox (
    execution_id BLOB NOT NULL,
    destination  TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    delivery_id  TEXT NOT NULL,
    payload      TEXT NOT NULL,
    secret       TEXT,
    next_try     INTEGER NOT NULL,
    tries        INTEGER NOT NULL,
    is_parked    INTEGER NOT NULL,
    PRIMARY KEY (execution_id, destination, seq)
) WITHOUT ROWID, STRICT;
CREATE INDEX outbox_due ON outbox (destination, next_try) WHERE is_parked = 0;
CREATE INDEX outbox_parked ON outbox (execution_id) WHERE is_parked = 1;
