-- name: oldest_executions
-- From the oldest, within a range of ids. The status comes as bytes: a damaged one must not stop this.
SELECT id, digest, CAST(status AS BLOB), ended_at FROM executions WHERE id > ? AND id < ? ORDER BY id LIMIT ?

-- name: end_of
-- How and when an execution ended; nothing of one that is open.
SELECT CAST(e.status AS BLOB), e.ended_at FROM executions e
WHERE e.id = ?1 AND NOT EXISTS (SELECT 1 FROM wakes w WHERE w.execution_id = ?1)

-- name: first_events
-- The first events of an execution: they tell whose child it is.
SELECT CAST(events AS BLOB) FROM history WHERE execution_id = ? AND seq = 1

-- name: has_to_tell
-- Whether something is still to be told of an execution.
SELECT 1 FROM outbox WHERE execution_id = ? AND is_parked = 0 LIMIT 1

-- name: drop_execution
DELETE FROM executions WHERE id = ?

-- name: drop_labels
DELETE FROM labels WHERE execution_id = ?

-- name: drop_slots
DELETE FROM slots WHERE execution_id = ?

-- name: sizes_of_history
-- The rows of a history from its end, and how many bytes each has.
SELECT seq, octet_length(events) FROM history WHERE execution_id = ? ORDER BY seq DESC LIMIT ?

-- name: drop_history
-- The rows of a history from one of them on: what is left has no gap.
DELETE FROM history WHERE execution_id = ? AND seq >= ?

-- name: drop_families
-- So many of the counts of children.
DELETE FROM families WHERE parent = ?1
    AND (run, attempt) IN (SELECT run, attempt FROM families WHERE parent = ?1 LIMIT ?2)

-- name: drop_children
-- What so many children were to their parent.
DELETE FROM children WHERE parent = ?1
    AND (run, attempt, place) IN (SELECT run, attempt, place FROM children WHERE parent = ?1 LIMIT ?2)

-- name: drop_some_mail
DELETE FROM mail WHERE execution_id = ?1
    AND number IN (SELECT number FROM mail WHERE execution_id = ?1 LIMIT ?2)

-- name: drop_outbox
DELETE FROM outbox WHERE execution_id = ?1
    AND (destination, seq) IN (SELECT destination, seq FROM outbox WHERE execution_id = ?1 LIMIT ?2)

-- name: youngest_key
-- When the youngest idempotency key of an execution was made.
SELECT max(made_at) FROM keys WHERE execution_id = ?

-- name: drop_keys
DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE execution_id = ?1 LIMIT ?2)

-- name: note_remains
-- Something is left of an execution that is gone, and may go at this time.
INSERT INTO remains (execution_id, due_at) VALUES (?, ?)
ON CONFLICT DO UPDATE SET due_at = excluded.due_at

-- name: drop_remains
DELETE FROM remains WHERE execution_id = ?

-- name: due_remains
-- Of what something is left that may go now.
SELECT execution_id FROM remains WHERE due_at <= ? ORDER BY due_at LIMIT ?

-- name: drop_unused_definition
-- The text of a flow that no execution and no published version uses.
DELETE FROM definitions WHERE digest = ?1
    AND NOT EXISTS (SELECT 1 FROM executions WHERE digest = ?1)
    AND NOT EXISTS (SELECT 1 FROM versions WHERE digest = ?1)

-- name: schedules_with_fires
-- Each schedule of which something is told, one after another.
WITH RECURSIVE each (id) AS (
    SELECT min(schedule_id) FROM fires
    UNION ALL SELECT (SELECT min(schedule_id) FROM fires WHERE schedule_id > each.id) FROM each
    WHERE each.id IS NOT NULL)
SELECT id FROM each WHERE id IS NOT NULL LIMIT ?

-- name: drop_fires
-- What became of the oldest nominal times of a schedule.
DELETE FROM fires WHERE schedule_id = ?1 AND nominal IN (
    SELECT nominal FROM fires WHERE schedule_id = ?1 AND nominal < ?2 AND at < ?2 ORDER BY nominal LIMIT ?3)
