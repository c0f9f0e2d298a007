-- name: add_definition
-- Keeps the text of a flow, once per digest.
INSERT OR IGNORE INTO definitions (digest, flow_id, text) VALUES (?, ?, ?)

-- name: add_execution
-- The row of a new execution.
INSERT INTO executions (id, digest, status, started_at, ended_at, checksum) VALUES (?, ?, ?, ?, ?, ?)

-- name: add_wake
-- The one wake reason of a new execution.
INSERT INTO wakes (execution_id, reason, due_at, epoch, last_seq, detail) VALUES (?, ?, ?, ?, ?, ?)

-- name: add_events
-- The events of a step.
INSERT INTO history (execution_id, seq, last_seq, events, checksum) VALUES (?, ?, ?, ?, ?)

-- name: move_wake
-- Fenced: changes nothing for a writer whose claim or knowledge of the history is old.
UPDATE wakes SET reason = ?, due_at = ?, last_seq = ?, detail = ?
WHERE execution_id = ? AND epoch = ? AND last_seq = ? AND reason = 'claim'

-- name: end_wake
-- Fenced like move_wake: an execution that ends waits for nothing.
DELETE FROM wakes WHERE execution_id = ? AND epoch = ? AND last_seq = ? AND reason = 'claim'

-- name: end_execution
-- How and when it ended.
UPDATE executions SET status = ?, ended_at = ?, checksum = checksum + ? WHERE id = ?

-- name: set_aside
-- Parks an execution as it is, for an operator; fenced by the epoch alone, for its history is in doubt.
UPDATE wakes SET reason = ?, due_at = ?, detail = ? WHERE execution_id = ? AND epoch = ? AND reason = 'claim'

-- name: due_wakes
-- The longest overdue first.
SELECT execution_id, epoch, last_seq FROM wakes
WHERE reason = 'due' AND due_at <= ? ORDER BY due_at LIMIT ?

-- name: claim_wake
-- A new claim: an epoch higher, so every earlier writer is fenced out.
UPDATE wakes SET reason = 'claim', due_at = ?, epoch = epoch + 1, detail = '' WHERE execution_id = ?

-- name: digest_of
-- Which flow an execution started with.
SELECT digest FROM executions WHERE id = ?

-- name: definition
-- The text of a flow, as bytes: a damaged text must not stop the reading.
SELECT CAST(text AS BLOB) FROM definitions WHERE digest = ?

-- name: events_of
-- The whole history of an execution, in order.
SELECT seq, last_seq, CAST(events AS BLOB), checksum FROM history WHERE execution_id = ? ORDER BY seq

-- name: free_claims
-- After a start: whoever held a claim is gone, so what it held is due at once; missing code may be here now.
UPDATE wakes SET reason = 'due', due_at = ?, detail = '' WHERE reason IN ('claim', 'code')

-- name: agenda_due
-- How many are due, counted no further than a bound.
SELECT count(*) FROM (SELECT 1 FROM wakes WHERE reason = 'due' AND due_at <= ? LIMIT ?)

-- name: agenda_next
-- When the next one will be.
SELECT min(due_at) FROM wakes WHERE reason = 'due'

-- name: execution_by_id
-- How it ended, and what it waits for.
SELECT e.status IS NOT NULL, w.reason, w.due_at, w.last_seq, CAST(w.detail AS BLOB) FROM executions e
LEFT JOIN wakes w ON w.execution_id = e.id WHERE e.id = ?

-- name: newest_executions
-- A page of the list. Texts come as bytes: a damaged one must not stop the reading of the others.
SELECT e.id, e.digest, CAST(d.flow_id AS BLOB), CAST(coalesce(e.status, w.reason) AS BLOB), e.started_at, e.ended_at, e.checksum
FROM executions e LEFT JOIN wakes w ON w.execution_id = e.id LEFT JOIN definitions d ON d.digest = e.digest
ORDER BY e.id DESC LIMIT ?

-- name: newest_completed_executions
-- A page of the list: most executions complete, so walking back from the newest finds them soon.
SELECT e.id, e.digest, CAST(d.flow_id AS BLOB), CAST(e.status AS BLOB), e.started_at, e.ended_at, e.checksum
FROM executions e LEFT JOIN definitions d ON d.digest = e.digest
WHERE e.status = 'completed' ORDER BY e.id DESC LIMIT ?

-- name: newest_otherwise_ended_executions
-- A page of the list with one of the final statuses that are few. The second term makes the index usable.
SELECT e.id, e.digest, CAST(d.flow_id AS BLOB), CAST(e.status AS BLOB), e.started_at, e.ended_at, e.checksum
FROM executions e LEFT JOIN definitions d ON d.digest = e.digest
WHERE e.status = ? AND e.status <> 'completed' ORDER BY e.id DESC LIMIT ?

-- name: newest_open_executions
-- A page of the list with one wake reason out of a JSON array of them.
SELECT e.id, e.digest, CAST(d.flow_id AS BLOB), CAST(w.reason AS BLOB), e.started_at, e.ended_at, e.checksum
FROM wakes w JOIN executions e ON e.id = w.execution_id LEFT JOIN definitions d ON d.digest = e.digest
WHERE w.reason IN (SELECT value FROM json_each(?)) ORDER BY w.execution_id DESC LIMIT ?

-- name: live_claims
-- What the engine is said to be working on.
SELECT execution_id, epoch FROM wakes WHERE reason = 'claim'

-- name: count_open
-- How many have not ended.
SELECT count(*) FROM wakes

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
WHERE NOT EXISTS (SELECT 1 FROM executions e WHERE e.id = h.execution_id) LIMIT ?

-- name: unknown_reason
-- Violations: a wake reason out of no known ones (a JSON array), which nothing would look for.
SELECT execution_id FROM wakes WHERE reason NOT IN (SELECT value FROM json_each(?)) LIMIT ?

-- name: unknown_status
-- Violations: an end out of no known ones (a JSON array).
SELECT id FROM executions WHERE status NOT IN (SELECT value FROM json_each(?)) LIMIT ?

-- name: get_property
SELECT value FROM properties WHERE name = ?

-- name: set_property
INSERT INTO properties (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
