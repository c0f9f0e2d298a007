-- What a batch writes of executions: one row of this view for each step, whose kind says what becomes of it. So a
-- batch is one statement, which SQLite carries out from its first row to its last without asking Python for
-- anything; and a batch of nothing else needs no other, as a statement is a transaction.

-- name: prepare_steps
-- Triggers and view belong to the connection that writes, not to the file. SQLite does not say which of the triggers
-- of a row comes first, so each kind writes its history itself, behind its fence.
CREATE TEMP VIEW steps AS SELECT
    '' AS kind,            -- start, move, park, end
    x'' AS execution_id,
    0 AS epoch,            -- the claim of the writer,
    0 AS seen,             -- the last event and
    0 AS mail,             -- the newest mail that it knows
    '' AS reason,          -- of the wake from now on; null if it has ended
    0 AS due_at,
    0 AS last_seq,
    '' AS detail,
    0 AS is_ending,
    '' AS status,          -- null until it has ended
    0 AS ended_at,
    '' AS error,
    0 AS checksum,         -- of the start, the end, or both, as one number
    x'' AS digest,
    0 AS at,               -- of the step; of a new execution, its start
    '' AS labels,          -- of a new execution, as a JSON object; null if it has none
    '' AS events,          -- null if there are none
    0 AS events_checksum;

CREATE TEMP TRIGGER starting INSTEAD OF INSERT ON steps WHEN NEW.kind = 'start' BEGIN
    INSERT INTO executions (id, digest, status, started_at, ended_at, checksum, error)
    VALUES (NEW.execution_id, NEW.digest, NEW.status, NEW.at, NEW.ended_at, NEW.checksum, NEW.error);
    INSERT INTO wakes (execution_id, reason, due_at, epoch, last_seq, detail, mail)
    SELECT NEW.execution_id, NEW.reason, NEW.due_at, NEW.epoch, NEW.last_seq, NEW.detail, NEW.mail
    WHERE NEW.reason IS NOT NULL;
    INSERT INTO history (execution_id, seq, last_seq, events, checksum)
    VALUES (NEW.execution_id, NEW.seen + 1, NEW.last_seq, NEW.events, NEW.events_checksum);
END;

CREATE TEMP TRIGGER labelling INSTEAD OF INSERT ON steps WHEN NEW.labels IS NOT NULL BEGIN
    INSERT INTO labels (execution_id, name, value) SELECT NEW.execution_id, key, value FROM json_each(NEW.labels);
END;

-- Fenced: a writer whose claim or knowledge of the history is old changes nothing, with all of its batch. One that
-- waits for mail does not go on before its writer knows all that was sent.
CREATE TEMP TRIGGER moving INSTEAD OF INSERT ON steps WHEN NEW.kind = 'move' BEGIN
    UPDATE wakes SET reason = NEW.reason, due_at = NEW.due_at, last_seq = NEW.last_seq, detail = NEW.detail,
        is_ending = NEW.is_ending
    WHERE execution_id = NEW.execution_id AND epoch = NEW.epoch AND last_seq = NEW.seen AND reason = 'claim'
        AND (detail = '' OR mail <= NEW.mail);
    SELECT RAISE(ABORT, 'stale claim') WHERE changes() = 0;
    INSERT INTO history (execution_id, seq, last_seq, events, checksum)
    SELECT NEW.execution_id, NEW.seen + 1, NEW.last_seq, NEW.events, NEW.events_checksum
    WHERE NEW.events IS NOT NULL;
END;

-- Fenced like moving. An execution to which something was sent that its writer does not know is due at once; it does
-- not go on to wait for something else before.
CREATE TEMP TRIGGER parking INSTEAD OF INSERT ON steps WHEN NEW.kind = 'park' BEGIN
    UPDATE wakes SET reason = CASE WHEN mail > NEW.mail THEN 'due' ELSE NEW.reason END,
        due_at = CASE WHEN mail > NEW.mail THEN min(NEW.at, NEW.due_at) ELSE NEW.due_at END,
        last_seq = NEW.last_seq, detail = NEW.detail, is_ending = NEW.is_ending
    WHERE execution_id = NEW.execution_id AND epoch = NEW.epoch AND last_seq = NEW.seen AND reason = 'claim'
        AND (detail IN ('', NEW.detail) OR mail <= NEW.mail);
    SELECT RAISE(ABORT, 'stale claim') WHERE changes() = 0;
    INSERT INTO history (execution_id, seq, last_seq, events, checksum)
    SELECT NEW.execution_id, NEW.seen + 1, NEW.last_seq, NEW.events, NEW.events_checksum
    WHERE NEW.events IS NOT NULL;
END;

-- Fenced like moving: an execution that ends waits for nothing. One to which something was sent that its writer does
-- not know does not end.
CREATE TEMP TRIGGER ending INSTEAD OF INSERT ON steps WHEN NEW.kind = 'end' BEGIN
    DELETE FROM wakes
    WHERE execution_id = NEW.execution_id AND epoch = NEW.epoch AND last_seq = NEW.seen AND reason = 'claim'
        AND mail <= NEW.mail;
    SELECT RAISE(ABORT, 'stale claim') WHERE changes() = 0;
    UPDATE executions
    SET status = NEW.status, ended_at = NEW.ended_at, checksum = checksum + NEW.checksum, error = NEW.error
    WHERE id = NEW.execution_id;
    INSERT INTO history (execution_id, seq, last_seq, events, checksum)
    VALUES (NEW.execution_id, NEW.seen + 1, NEW.last_seq, NEW.events, NEW.events_checksum);
END;

CREATE TEMP TRIGGER counting INSTEAD OF INSERT ON steps WHEN NEW.status IS NOT NULL BEGIN
    INSERT INTO tallies (status, ended) VALUES (NEW.status, 1) ON CONFLICT DO UPDATE SET ended = ended + 1;
END;

-- name: write_steps
-- For one row; for more of them, the places are repeated.
INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
