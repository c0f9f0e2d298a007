-- What must never be, and how it is mended.

-- name: open_without_wake
-- Violations: open, and nothing will ever move it on.
SELECT e.id FROM executions e LEFT JOIN wakes w ON w.execution_id = e.id
WHERE e.status IS NULL AND w.execution_id IS NULL LIMIT ?

-- name: ended_with_wake
-- Violations: it has ended, or does not exist, and something would still move it on.
SELECT w.execution_id FROM wakes w LEFT JOIN executions e ON e.id = w.execution_id
WHERE e.id IS NULL OR e.status IS NOT NULL LIMIT ?

-- name: history_with_gaps
-- Violations: numbers of events that do not follow each other.
SELECT DISTINCT execution_id FROM (
    SELECT execution_id, seq, last_seq, lag(last_seq, 1, 0) OVER (PARTITION BY execution_id ORDER BY seq) AS before
    FROM history)
WHERE seq <> before + 1 OR last_seq < seq LIMIT ?

-- name: history_with_another_end
-- Violations: an open execution has more events, or fewer, than its wake knows of.
SELECT w.execution_id FROM wakes w
WHERE w.last_seq IS NOT (SELECT max(h.last_seq) FROM history h WHERE h.execution_id = w.execution_id) LIMIT ?

-- name: execution_without_history
-- Violations: an execution of which nothing is told.
SELECT e.id FROM executions e
WHERE NOT EXISTS (SELECT 1 FROM history h WHERE h.execution_id = e.id) LIMIT ?

-- name: history_without_execution
-- Violations: events of an execution that is not there.
SELECT DISTINCT h.execution_id FROM history h
WHERE NOT EXISTS (SELECT 1 FROM executions e WHERE e.id = h.execution_id)
    AND NOT EXISTS (SELECT 1 FROM remains r WHERE r.execution_id = h.execution_id) LIMIT ?

-- name: unknown_reason
-- Violations: a wake reason out of no known ones (a JSON array), which nothing would look for.
SELECT execution_id FROM wakes WHERE reason NOT IN (SELECT value FROM json_each(?)) LIMIT ?

-- name: unknown_status
-- Violations: an end out of no known ones (a JSON array).
SELECT id FROM executions WHERE status NOT IN (SELECT value FROM json_each(?)) LIMIT ?

-- name: waits_for_no_child
-- Violations: it waits for the end of children, and has none that is open.
SELECT w.execution_id FROM wakes w WHERE w.reason = 'children'
    AND NOT EXISTS (SELECT 1 FROM children c WHERE c.parent = w.execution_id AND c.status IS NULL) LIMIT ?

-- name: child_whose_end_was_not_told
-- Violations: a child that has ended, or is not there, and its parent would wait for it for ever.
SELECT DISTINCT c.parent FROM children c JOIN wakes p ON p.execution_id = c.parent
WHERE c.status IS NULL AND NOT EXISTS (SELECT 1 FROM wakes w WHERE w.execution_id = c.child) LIMIT ?

-- name: family_miscounted
-- Violations: children that were not counted as they are.
SELECT DISTINCT f.parent FROM families f
WHERE (f.started, f.ended, f.completed) IS NOT (
    SELECT count(*), count(c.status), coalesce(sum(c.status = 'completed'), 0) FROM children c
    WHERE c.parent = f.parent AND c.run = f.run AND c.attempt = f.attempt) LIMIT ?

-- name: mail_for_nobody
-- Violations: something was sent to an execution that takes nothing up any more.
SELECT DISTINCT m.execution_id FROM mail m
WHERE NOT EXISTS (SELECT 1 FROM wakes w WHERE w.execution_id = m.execution_id) LIMIT ?

-- name: last_events
-- The last row of a history, and what else is needed to tell how its execution stands.
SELECT h.seq, h.last_seq, CAST(h.events AS BLOB), h.checksum FROM history h
WHERE h.execution_id = ? ORDER BY h.seq DESC LIMIT 1

-- name: start_of_execution
-- What the checksum of a start is over.
SELECT e.digest, coalesce(d.flow_id, ''), e.started_at FROM executions e
LEFT JOIN definitions d ON d.digest = e.digest WHERE e.id = ?

-- name: next_life
-- A new life: every claim of earlier ones is fenced out.
UPDATE executions SET lives = lives + 1 WHERE id = ? RETURNING lives

-- name: put_status
-- How an execution stands, according to its history.
UPDATE executions SET status = ?, ended_at = ?, checksum = ?, error = ? WHERE id = ?

-- name: drop_wake
-- Nothing moves it on any more.
DELETE FROM wakes WHERE execution_id = ?

-- name: put_wake
-- What moves it on, whatever there was before.
INSERT INTO wakes (execution_id, reason, due_at, epoch, last_seq, detail, mail)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce((SELECT max(number) FROM mail WHERE execution_id = ?1), 0))
ON CONFLICT DO UPDATE SET reason = ?2, due_at = ?3, epoch = ?4, last_seq = ?5, detail = ?6

-- name: make_due
-- Whatever it waited for, it is looked at now; but not without the slot that it waits for.
UPDATE wakes SET reason = 'due', due_at = ? WHERE execution_id = ? AND reason <> 'slot'

-- name: drop_orphaned_history
-- The events of an execution that is not there.
DELETE FROM history WHERE execution_id = ?

-- name: recount_families
-- The children of all attempts of a parent, counted anew.
UPDATE families SET (started, ended, completed, bytes) = (
    SELECT count(*), count(c.status), coalesce(sum(c.status = 'completed'), 0),
        coalesce(sum(octet_length(c.ended)), 0) FROM children c
    WHERE c.parent = families.parent AND c.run = families.run AND c.attempt = families.attempt)
WHERE parent = ?

-- name: untold_children
-- The children that ended, or are gone, and whose end their parent was not told.
SELECT c.run, c.attempt, c.place, c.child FROM children c
WHERE c.parent = ? AND c.status IS NULL AND NOT EXISTS (SELECT 1 FROM wakes w WHERE w.execution_id = c.child)

-- name: unpark_deliveries
-- What was given up is tried again, from the beginning.
UPDATE outbox SET is_parked = 0, tries = 0, next_try = ? WHERE execution_id = ? AND is_parked = 1

-- name: wake_detail
-- What an execution waits for.
SELECT reason, detail FROM wakes WHERE execution_id = ?
