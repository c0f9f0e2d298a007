-- name: keys_by_id
-- Every source of keys gives those from ?1 to before ?2, the newest first, from one index. This one: all.
SELECT id FROM executions WHERE id >= ?1 AND id < ?2 ORDER BY id DESC

-- name: keys_of_digest
-- Executions of a flow as it was at one time.
SELECT id FROM executions WHERE digest = ?3 AND id >= ?1 AND id < ?2 ORDER BY id DESC

-- name: keys_with_error
-- Those that failed with this code.
SELECT id FROM executions WHERE error = ?3 AND id >= ?1 AND id < ?2 ORDER BY id DESC

-- name: keys_not_completed
-- Those that ended with one of the statuses that are few. The second term makes the index usable.
SELECT id FROM executions WHERE status = ?3 AND status <> 'completed' AND id >= ?1 AND id < ?2 ORDER BY id DESC

-- name: keys_with_label
-- Those that carry this label.
SELECT execution_id FROM labels WHERE name = ?3 AND value = ?4 AND execution_id >= ?1 AND execution_id < ?2
ORDER BY execution_id DESC

-- name: keys_parked
-- Those that wait for something of this kind. The second term makes the index usable.
SELECT execution_id FROM wakes WHERE reason = ?3 AND reason <> 'claim' AND execution_id >= ?1 AND execution_id < ?2
ORDER BY execution_id DESC

-- name: keys_ending
-- Those that undo what they did, and meanwhile wait for something of this kind.
SELECT execution_id FROM wakes WHERE is_ending = 1 AND reason = ?3 AND execution_id >= ?1 AND execution_id < ?2
ORDER BY execution_id DESC

-- name: keys_claimed
-- Those that are worked on. Claims come and go with every step, so they have no index of their own: what is open is
-- gone through, here and not key by key, which takes 7 ms for 100,000.
SELECT execution_id FROM wakes WHERE reason = 'claim' AND execution_id >= ?1 AND execution_id < ?2
ORDER BY execution_id DESC

-- name: digests_of_flow
-- The flow as it was, whenever something was started with it.
SELECT digest FROM definitions WHERE flow_id = ? LIMIT ?

-- name: digest_of_version
-- A published version.
SELECT digest FROM versions WHERE flow_id = ? AND version = ?

-- name: next_error
-- The first code from one on and below another, with which an execution failed.
SELECT error FROM executions WHERE error >= ?1 AND error < ?2 ORDER BY error LIMIT 1

-- name: executions_among
-- Of these keys (a JSON array of hexadecimal texts, whose order stays) the executions that are wanted. Texts
-- come as bytes: a damaged one must not stop the reading of the others.
SELECT e.id, e.digest, CAST(d.flow_id AS BLOB), CAST(coalesce(e.status, CASE
    WHEN w.is_ending AND w.reason NOT IN ('pause', 'quarantine', 'repair') THEN 'compensating' ELSE w.reason END) AS BLOB),
    e.started_at, e.ended_at, e.checksum, CAST(e.error AS BLOB), CAST(w.reason AS BLOB),
    (SELECT CAST(json_group_object(l.name, l.value) AS BLOB) FROM labels l WHERE l.execution_id = e.id)
FROM json_each(:keys) k CROSS JOIN executions e ON e.id = unhex(k.value)
LEFT JOIN wakes w ON w.execution_id = e.id LEFT JOIN definitions d ON d.digest = e.digest
WHERE (:flow_id IS NULL OR d.flow_id = :flow_id)
    AND (:digest IS NULL OR e.digest = :digest)
    AND (:states IS NULL OR coalesce(e.status, CASE
        WHEN w.is_ending AND w.reason NOT IN ('pause', 'quarantine', 'repair') THEN 'compensating' ELSE w.reason END)
        IN (SELECT value FROM json_each(:states)))
    AND (:reason IS NULL OR w.reason = :reason)
    AND (:error IS NULL OR e.error >= :error AND e.error < :error_end)
    AND NOT EXISTS (SELECT 1 FROM json_each(:labels) a WHERE NOT EXISTS (SELECT 1 FROM labels l
        WHERE l.execution_id = e.id AND l.name = a.value ->> 0 AND l.value = a.value ->> 1))
    AND (:text IS NULL OR instr(lower(d.flow_id), lower(:text)) OR instr(lower(e.error), lower(:text))
        OR EXISTS (SELECT 1 FROM labels l WHERE l.execution_id = e.id AND instr(lower(l.value), lower(:text))))

-- name: ended_counts
-- How many have ended with each status.
SELECT CAST(status AS BLOB), ended FROM tallies

-- name: count_parked
-- How many wait for something of this kind.
SELECT count(*) FROM wakes WHERE reason = ?1 AND reason <> 'claim'

-- name: count_ending
-- How many of these undo what they did.
SELECT count(*) FROM wakes WHERE is_ending = 1 AND reason = ?1

-- name: events_after
-- The events of an execution from the row that holds number ?2, as many rows as ?3.
SELECT seq, last_seq, CAST(events AS BLOB), checksum FROM history WHERE execution_id = ?1
    AND seq >= coalesce((SELECT max(seq) FROM history WHERE execution_id = ?1 AND seq <= ?2), 0) ORDER BY seq LIMIT ?3
