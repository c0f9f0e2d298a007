-- The children of an attempt, counted as they start and end: nobody counts them again at each end.
-- `bytes` are those of what their ends tell.
CREATE TABLE families (
    parent    BLOB NOT NULL,
    run       INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (parent, run, attempt)
) WITHOUT ROWID, STRICT;

INSERT INTO families SELECT parent, run, attempt, count(*), count(status),
    coalesce(sum(status = 'completed'), 0), coalesce(sum(octet_length(ended)), 0)
FROM children GROUP BY parent, run, attempt;

CREATE INDEX children_open ON children (parent, run, attempt) WHERE status IS NULL;
