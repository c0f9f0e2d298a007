-- The number of the newest thing that was sent to an open execution, or of the last word of a child.
-- A writer that parks says which number it knew, so that nothing that came meanwhile is slept through.
ALTER TABLE wakes ADD COLUMN mail INTEGER NOT NULL DEFAULT 0;

-- Whether the execution is to end, and undoes what it did: it is `compensating`, whatever moves it on.
ALTER TABLE wakes ADD COLUMN is_ending INTEGER NOT NULL DEFAULT 0;

DROP INDEX wakes_due;
CREATE INDEX wakes_due ON wakes (due_at) WHERE reason IN ('due', 'signal', 'children');

-- What was sent to an open execution and not yet taken up. The payload is JSON.
CREATE TABLE mail (
    execution_id BLOB NOT NULL,
    number       INTEGER NOT NULL,
    sent_at      INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    payload      TEXT NOT NULL,
    sender       TEXT NOT NULL,
    PRIMARY KEY (execution_id, number)
) WITHOUT ROWID, STRICT;

-- The children of an attempt, by place. `ended` is JSON: the end that the parent is told of.
CREATE TABLE children (
    parent  BLOB NOT NULL,
    run     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    child   BLOB NOT NULL,
    status  TEXT,              -- null until it has ended
    ended   TEXT,
    PRIMARY KEY (parent, run, attempt, place)
) WITHOUT ROWID, STRICT;

-- A secret of this database: approvals are signed with it.
INSERT INTO properties (name, value) VALUES ('key', lower(hex(randomblob(32))));
