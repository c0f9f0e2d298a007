-- name: key_of_start
-- What was started under an idempotency key, and whether it was pruned: a key can outlive it for a day.
SELECT execution_id, fingerprint, EXISTS (SELECT 1 FROM remains r WHERE r.execution_id = keys.execution_id)
FROM keys WHERE key = ?

-- name: add_key
-- One execution for each key.
INSERT INTO keys (key, execution_id, fingerprint, made_at) VALUES (?, ?, ?, ?)

-- name: rate_of_flow
-- From when on one start at a time is free.
SELECT free_at FROM rates WHERE flow_id = ?

-- name: set_rate
INSERT INTO rates (flow_id, free_at) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET free_at = ?2

-- name: set_priority
-- Of a new execution; what is due with a higher one is taken up first.
UPDATE wakes SET priority = ? WHERE execution_id = ?

-- name: any_slot
-- Whether anybody holds a slot, or waits for one, at all.
SELECT EXISTS (SELECT 1 FROM slots) OR EXISTS (SELECT 1 FROM wakes WHERE reason = 'slot')

-- name: has_slot
-- Whether an execution has a slot of this key (any, if none is given), or waits for it.
SELECT EXISTS (SELECT 1 FROM slots WHERE execution_id = ?1 AND key = coalesce(?2, key))
    OR EXISTS (SELECT 1 FROM wakes WHERE execution_id = ?1 AND reason = 'slot' AND detail = coalesce(?2, detail))

-- name: wait_for_slot
-- Of an open execution that goes on only with a slot. One that is worked on, or cannot be, stays as it is.
UPDATE wakes SET reason = 'slot', due_at = ?, detail = ? WHERE execution_id = ? AND reason NOT IN ('claim', 'repair')

-- name: leave_line
-- One that waits for a slot waits no more: it is due.
UPDATE wakes SET reason = 'due', due_at = min(?, due_at) WHERE execution_id = ? AND reason = 'slot'

-- name: count_slots
-- How many go on under a key, counted no further than a bound.
SELECT count(*) FROM (SELECT 1 FROM slots WHERE key = ? LIMIT ?)

-- name: take_slot
INSERT INTO slots (key, execution_id) VALUES (?, ?)

-- name: free_slots
-- What an execution that has ended held.
DELETE FROM slots WHERE execution_id = ? RETURNING key

-- name: limit_of_slots
SELECT most FROM slot_limits WHERE key = ?

-- name: limit_slots
INSERT INTO slot_limits (key, most) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET most = ?2

-- name: keep_limit
-- As limit_slots, for one that was started before: the limit of the newest start stays.
INSERT INTO slot_limits (key, most) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: forget_limit
-- Nobody holds a slot of this key any more.
DELETE FROM slot_limits WHERE key = ?

-- name: next_for_slot
-- Of those who wait for a slot, of one priority, the one that was started first.
SELECT execution_id FROM wakes WHERE reason = 'slot' AND detail = ? AND priority = ? ORDER BY execution_id LIMIT 1

-- name: give_slot
-- It waits no more: it is due.
UPDATE wakes SET reason = 'due', due_at = ?, detail = '' WHERE execution_id = ?

-- name: slot_leaked
-- Violations: a slot of an execution that has ended, or does not exist.
SELECT s.execution_id FROM slots s LEFT JOIN wakes w ON w.execution_id = s.execution_id
WHERE w.execution_id IS NULL LIMIT ?

-- name: slot_not_given
-- Violations: it waits for a slot, and one is free.
SELECT w.execution_id FROM wakes w LEFT JOIN slot_limits l ON l.key = w.detail WHERE w.reason = 'slot'
    AND (SELECT count(*) FROM slots s WHERE s.key = w.detail) < coalesce(l.most, 1) LIMIT ?
