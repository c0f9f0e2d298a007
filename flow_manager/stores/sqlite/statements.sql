-- name: add_definition
-- Keeps the text of a flow, once per digest.
INSERT OR IGNORE INTO definitions (digest, flow_id, text) VALUES (?, ?, ?)

-- name: add_execution
-- The row of a new execution.
INSERT INTO executions (id, flow_id, digest, status, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?)

-- name: add_wake
-- The one wake reason of a new execution.
INSERT INTO wakes (execution_id, reason, due_at, epoch, last_seq, detail) VALUES (?, ?, ?, ?, ?, ?)

-- name: add_event
-- The next event of an execution.
INSERT INTO history (execution_id, seq, event) VALUES (?, ?, ?)

-- name: move_wake
-- Fenced: changes nothing for a writer whose claim or knowledge of the history is old.
UPDATE wakes SET reason = ?, due_at = ?, last_seq = ?, detail = ?
WHERE execution_id = ? AND epoch = ? AND last_seq = ? AND reason = 'claim'

-- name: end_wake
-- Fenced like move_wake: an execution that ends waits for nothing.
DELETE FROM wakes WHERE execution_id = ? AND epoch = ? AND last_seq = ? AND reason = 'claim'

-- name: end_execution
-- How and when it ended.
UPDATE executions SET status = ?, ended_at = ? WHERE id = ?

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

-- name: definition_of
-- The flow that an execution started with.
SELECT d.digest, CAST(d.text AS BLOB) FROM executions e JOIN definitions d ON d.digest = e.digest WHERE e.id = ?

-- name: events_of
-- The whole history of an execution, in order, as bytes: a damaged text must not stop the reading.
SELECT CAST(event AS BLOB) FROM history WHERE execution_id = ? ORDER BY seq

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
-- Whether it exists, how it ended, and what it waits for.
SELECT e.status, w.reason, w.due_at, w.detail FROM executions e
LEFT JOIN wakes w ON w.execution_id = e.id WHERE e.id = ?

-- name: newest_executions
-- A page of the list.
SELECT e.id, e.flow_id, coalesce(e.status, w.reason), e.started_at, e.ended_at, e.status IS NOT NULL
FROM executions e LEFT JOIN wakes w ON w.execution_id = e.id
ORDER BY e.id DESC LIMIT ?

-- name: newest_ended_executions
-- A page of the list with one final status.
SELECT id, flow_id, status, started_at, ended_at, 1 FROM executions WHERE status = ? ORDER BY id DESC LIMIT ?

-- name: newest_open_executions
-- A page of the list with one wake reason out of a JSON array of them.
SELECT e.id, e.flow_id, w.reason, e.started_at, e.ended_at, 0
FROM wakes w JOIN executions e ON e.id = w.execution_id
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
-- Violations: event numbers that are not 1, 2, 3 ... or that the wake disagrees with.
SELECT h.execution_id FROM history h LEFT JOIN wakes w ON w.execution_id = h.execution_id
GROUP BY h.execution_id
HAVING min(h.seq) <> 1 OR max(h.seq) <> count(*) OR max(h.seq) <> coalesce(max(w.last_seq), max(h.seq)) LIMIT ?

-- name: get_property
SELECT value FROM properties WHERE name = ?

-- name: set_property
INSERT INTO properties (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
