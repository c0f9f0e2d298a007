-- name: add_definition
-- Keeps the text of a flow, once per digest.
INSERT OR IGNORE INTO definitions (digest, flow_id, text) VALUES (?, ?, ?)

-- name: count_ended
-- So many more have ended with this status.
INSERT INTO tallies (status, ended) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET ended = ended + ?2

-- name: add_wake
-- The one wake reason of an execution that is opened again.
INSERT INTO wakes (execution_id, reason, due_at, epoch, last_seq, detail, mail) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: claim_with_mail
-- Whether a writer that was refused still has its claim: then there is mail that it does not know.
SELECT mail FROM wakes WHERE execution_id = ? AND epoch = ? AND last_seq = ? AND reason = 'claim'

-- name: last_of_claim
-- The number of the last event, and of the newest mail, of a claimed execution.
SELECT last_seq, mail FROM wakes WHERE execution_id = ? AND epoch = ? AND reason = 'claim'

-- name: send_mail
-- Counts what is sent to an open execution, and makes it due if that is what it waits for. One that is worked
-- on is marked, so that it does not go on before its writer knows. Nothing sent stands for a slot.
UPDATE wakes SET mail = mail + 1,
    reason = CASE WHEN reason IN ('claim', 'repair', 'slot') THEN reason
        WHEN ?2 <> 'signal' OR (reason = 'signal' AND detail = ?3) THEN 'due' ELSE reason END,
    due_at = CASE WHEN reason IN ('claim', 'repair', 'slot') THEN due_at
        WHEN ?2 <> 'signal' OR (reason = 'signal' AND detail = ?3) THEN min(?4, due_at) ELSE due_at END,
    detail = CASE WHEN reason = 'claim' AND ?2 <> 'signal' AND detail = '' THEN ?2 ELSE detail END
WHERE execution_id = ?1 RETURNING mail

-- name: send_answer
-- Counts an answer, and makes the execution due that waits for it; changes nothing if none does. One
-- that is just being looked at has not gone on yet.
UPDATE wakes SET mail = mail + 1, reason = CASE reason WHEN 'claim' THEN reason ELSE 'due' END,
    due_at = CASE reason WHEN 'claim' THEN due_at ELSE min(?3, due_at) END
WHERE execution_id = ?1 AND reason IN ('signal', 'due', 'claim') AND detail = ?2 RETURNING mail

-- name: add_mail
-- What was sent.
INSERT INTO mail (execution_id, number, sent_at, kind, name, payload, sender) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: mail_of
-- What was sent to an execution and not yet taken up, in order.
SELECT number, sent_at, kind, name, CAST(payload AS BLOB), sender FROM mail WHERE execution_id = ? ORDER BY number

-- name: newest_mail
-- The number of the newest thing that was sent to an execution.
SELECT mail FROM wakes WHERE execution_id = ?

-- name: as_seen
-- Whether an open execution can be asked for something by a sender who has looked at it: nobody works on it,
-- and nothing else was asked of it. Of one that is to end anyway, a cancellation asks nothing, and is never taken up.
SELECT w.reason <> 'claim' AND w.last_seq = ?2 AND NOT EXISTS (
    SELECT 1 FROM mail m
    WHERE m.execution_id = ?1 AND m.kind <> 'signal' AND NOT (m.kind = 'cancel' AND w.is_ending))
FROM wakes w WHERE w.execution_id = ?1

-- name: ended_as_seen
-- How an ended execution stands, for whoever wants to open it again.
SELECT e.status, e.ended_at, (SELECT max(h.last_seq) FROM history h WHERE h.execution_id = e.id)
FROM executions e WHERE e.id = ?

-- name: weigh_mail
-- How many signals wait to be taken up, and the bytes of what they carry.
SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM mail WHERE execution_id = ? AND kind = 'signal'

-- name: has_mail
-- Whether something of this kind and name waits to be taken up.
SELECT 1 FROM mail WHERE execution_id = ? AND kind = ? AND name = coalesce(?, name)

-- name: take_mail
-- It was taken up.
DELETE FROM mail WHERE execution_id = ? AND number = ?

-- name: drop_mail
-- Nobody will take it up any more.
DELETE FROM mail WHERE execution_id = ?

-- name: add_child
-- A child of an attempt, at its place.
INSERT INTO children (parent, run, attempt, place, child) VALUES (?, ?, ?, ?, ?)

-- name: end_child
-- How a child ended, for its parent.
UPDATE children SET status = ?, ended = ? WHERE parent = ? AND run = ? AND attempt = ? AND place = ?

-- name: wake_parent
-- A child has ended: the parent looks, now or after what it is doing.
UPDATE wakes SET mail = mail + 1,
    reason = CASE WHEN reason = 'children' THEN 'due' ELSE reason END,
    due_at = CASE WHEN reason = 'children' THEN ? ELSE due_at END
WHERE execution_id = ?

-- name: count_start
-- Another child of an attempt.
INSERT INTO families (parent, run, attempt, started, ended, completed, bytes) VALUES (?, ?, ?, 1, 0, 0, 0)
ON CONFLICT DO UPDATE SET started = started + 1

-- name: count_end
-- A child of an attempt has ended; or, with -1, is open again.
UPDATE families SET ended = ended + ?, completed = completed + ?, bytes = bytes + ?
WHERE parent = ? AND run = ? AND attempt = ?

-- name: count_children
-- Of an attempt: how many were started, have ended, and completed, and how much their ends tell.
SELECT started, ended, completed, bytes FROM families WHERE parent = ? AND run = ? AND attempt = ?

-- name: ends_of_children
-- How the children of an attempt ended, in order.
SELECT place, child, CAST(status AS BLOB), CAST(ended AS BLOB) FROM children
WHERE parent = ? AND run = ? AND attempt = ? AND status IS NOT NULL ORDER BY place

-- name: open_children
-- The children of an attempt that have not ended, and are not about to.
SELECT c.child FROM children c LEFT JOIN wakes w ON w.execution_id = c.child
WHERE c.parent = ? AND c.run = ? AND c.attempt = ? AND c.status IS NULL AND w.is_ending IS NOT TRUE

-- name: completed_children
-- The children of an attempt that completed, and what is needed to open them again.
SELECT c.place, c.child, e.status, e.ended_at, octet_length(c.ended),
    (SELECT max(h.last_seq) FROM history h WHERE h.execution_id = c.child)
FROM children c JOIN executions e ON e.id = c.child
WHERE c.parent = ? AND c.run = ? AND c.attempt = ? AND c.status = 'completed'

-- name: reopen_child
-- It is open again for its parent.
UPDATE children SET status = NULL, ended = NULL WHERE parent = ? AND run = ? AND attempt = ? AND place = ?

-- name: reopen_execution
-- It has not ended after all: what it did is to be undone.
UPDATE executions SET status = NULL, ended_at = NULL, checksum = checksum - ?, error = NULL, lives = lives + 1
WHERE id = ? RETURNING lives

-- name: children_of
-- All children of an execution.
SELECT run, attempt, place, child, CAST(status AS BLOB) FROM children WHERE parent = ? ORDER BY run, attempt, place LIMIT ?

-- name: set_aside
-- Parks an execution as it is, for an operator; fenced by the epoch alone, for its history is in doubt.
UPDATE wakes SET reason = ?, due_at = ?, detail = ? WHERE execution_id = ? AND epoch = ? AND reason = 'claim'

-- name: due_wakes
-- Of one priority, the longest overdue first.
SELECT execution_id, epoch, last_seq, mail, due_at FROM wakes
WHERE reason IN ('due', 'signal', 'children') AND priority = ? AND due_at <= ? ORDER BY due_at LIMIT ?

-- name: claim_wake
-- A new claim: an epoch higher, so every earlier writer is fenced out. What it waited for stays until it
-- goes on.
UPDATE wakes SET reason = 'claim', due_at = ?, epoch = epoch + 1 WHERE execution_id = ?

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
UPDATE wakes SET reason = 'due', due_at = ?, detail = CASE reason WHEN 'code' THEN '' ELSE detail END
WHERE reason IN ('claim', 'code')

-- name: agenda_due
-- How many are due, counted no further than a bound.
SELECT count(*) FROM (SELECT 1 FROM wakes
WHERE reason IN ('due', 'signal', 'children') AND priority IN (-1, 0, 1) AND due_at <= ? LIMIT ?)

-- name: agenda_next
-- When the next one of a priority will be.
SELECT min(due_at) FROM wakes WHERE reason IN ('due', 'signal', 'children') AND priority = ?

-- name: execution_by_id
-- How it ended, and what it waits for.
SELECT e.status IS NOT NULL, w.reason, w.due_at, w.last_seq, CAST(w.detail AS BLOB), e.lives FROM executions e
LEFT JOIN wakes w ON w.execution_id = e.id WHERE e.id = ?

-- name: definition_of
-- The digest and the text of the flow that an execution started with.
SELECT d.digest, CAST(d.text AS BLOB) FROM executions e JOIN definitions d ON d.digest = e.digest WHERE e.id = ?

-- name: live_claims
-- What the engine is said to be working on.
SELECT execution_id, epoch FROM wakes WHERE reason = 'claim'

-- name: count_open
-- How many have not ended.
SELECT count(*) FROM wakes

-- name: get_property
SELECT value FROM properties WHERE name = ?

-- name: set_property
INSERT INTO properties (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
