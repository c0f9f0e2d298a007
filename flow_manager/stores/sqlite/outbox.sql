-- name: add_delivery
-- What is to be told of a step, to one destination.
INSERT INTO outbox (execution_id, destination, seq, delivery_id, payload, secret, next_try, tries, is_parked)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)

-- name: destinations_due
-- Where something is to be sent by now. It goes from one destination to the next through the index: a
-- destination that takes nothing may have a million rows.
WITH RECURSIVE each (destination) AS (
    SELECT min(destination) FROM outbox WHERE is_parked = 0
    UNION ALL
    SELECT (SELECT min(o.destination) FROM outbox o WHERE o.is_parked = 0 AND o.destination > each.destination)
    FROM each WHERE each.destination IS NOT NULL
)
SELECT destination FROM each WHERE destination IS NOT NULL AND (
    SELECT min(o.next_try) FROM outbox o WHERE o.is_parked = 0 AND o.destination = each.destination) <= ? LIMIT ?

-- name: due_deliveries
-- To one destination, the longest overdue first. A later one of an execution waits for the earlier. The text
-- comes as bytes: a damaged one must not stop the others.
SELECT o.execution_id, o.seq, o.delivery_id, CAST(o.payload AS BLOB), o.secret, o.tries FROM outbox o
WHERE o.is_parked = 0 AND o.destination = ?1 AND o.next_try <= ?2 AND NOT EXISTS (
    SELECT 1 FROM outbox e WHERE e.execution_id = o.execution_id AND e.destination = ?1 AND e.seq < o.seq
    AND e.is_parked = 0)
ORDER BY o.next_try LIMIT ?3

-- name: claim_delivery
-- Nobody else sends it until then.
UPDATE outbox SET next_try = ? WHERE execution_id = ? AND destination = ? AND seq = ?

-- name: forget_delivery
-- It has arrived.
DELETE FROM outbox WHERE execution_id = ? AND destination = ? AND seq = ?

-- name: delay_delivery
-- When it is tried again, and how many tries there were; fenced by the time until which it was claimed.
UPDATE outbox SET next_try = ?, tries = ? WHERE execution_id = ? AND destination = ? AND seq = ? AND next_try = ?

-- name: park_delivery
-- It is given up; fenced in the same way.
UPDATE outbox SET is_parked = 1, tries = tries + 1
WHERE execution_id = ? AND destination = ? AND seq = ? AND next_try = ?

-- name: held_deliveries
-- After a start: whoever was sending is gone, and what was given up may work now. Of each no more than a bound:
-- a start must not take long. Whatever is left is free when its time has come, or with the next start.
SELECT * FROM (SELECT execution_id, destination, seq FROM outbox WHERE is_parked = 1 LIMIT ?2)
UNION ALL
SELECT * FROM (SELECT execution_id, destination, seq FROM outbox WHERE is_parked = 0 AND next_try > ?1 LIMIT ?2)

-- name: free_delivery
-- It is due; one that was given up has all its tries again.
UPDATE outbox SET next_try = ?, tries = CASE is_parked WHEN 1 THEN 0 ELSE tries END, is_parked = 0
WHERE execution_id = ? AND destination = ? AND seq = ?

-- name: count_deliveries
-- How many wait to be sent, and how many were given up, each counted no further than a bound.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE is_parked = 0 LIMIT ?1)),
    (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE is_parked = 1 LIMIT ?1))

-- name: parked_deliveries
-- Violations: somebody was to be told of it, and could not be.
SELECT DISTINCT execution_id FROM outbox WHERE is_parked = 1 LIMIT ?
