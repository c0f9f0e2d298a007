-- name: schedule_by_id
SELECT id, version, CAST(document AS BLOB), is_paused, cursor, next_at, zone_data, changed_at
FROM schedules WHERE id = ?

-- name: all_schedules
-- A page of the list.
SELECT id, version, CAST(document AS BLOB), is_paused, cursor, next_at, zone_data, changed_at
FROM schedules WHERE id > ? ORDER BY id LIMIT ?

-- name: due_schedules
-- The longest overdue first.
SELECT id, version, CAST(document AS BLOB), is_paused, cursor, next_at, zone_data, changed_at
FROM schedules WHERE is_paused = 0 AND next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT ?

-- name: next_schedule
-- When the next one is due.
SELECT min(next_at) FROM schedules WHERE is_paused = 0 AND next_at IS NOT NULL

-- name: schedules_of_other_zones
-- Those whose next time was found with other time zones.
SELECT id, version, CAST(document AS BLOB), is_paused, cursor, next_at, zone_data, changed_at
FROM schedules WHERE zone_data <> ? ORDER BY id LIMIT ?

-- name: put_schedule
INSERT INTO schedules (id, version, document, is_paused, cursor, next_at, zone_data, changed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT DO UPDATE SET version = ?2, document = ?3, is_paused = ?4, cursor = ?5, next_at = ?6, zone_data = ?7,
    changed_at = ?8

-- name: delete_schedule
DELETE FROM schedules WHERE id = ?

-- name: move_schedule
-- Fenced: changes nothing for whoever has seen an older one. Nothing that was fired before may be ahead.
UPDATE schedules SET is_paused = ?1, cursor = ?2, next_at = ?3, zone_data = ?4, changed_at = ?5
WHERE id = ?6 AND version = ?7 AND cursor IS ?8 AND is_paused = ?9

-- name: add_fire
-- What became of a nominal time; whoever comes second adds nothing.
INSERT INTO fires (schedule_id, nominal, at, outcome, execution_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- name: fire_at
-- What became of a nominal time.
SELECT outcome FROM fires WHERE schedule_id = ? AND nominal = ?

-- name: start_fire
-- A nominal time that was not started before, is now.
INSERT INTO fires (schedule_id, nominal, at, outcome, execution_id) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET at = ?3, outcome = ?4, execution_id = ?5 WHERE execution_id IS NULL

-- name: end_queue
-- A queued time is queued no longer.
UPDATE fires SET at = ?1, outcome = ?2, execution_id = ?3
WHERE schedule_id = ?4 AND nominal = ?5 AND outcome = 'queued'

-- name: drop_queue
-- The schedule is gone: what was queued of it will not be started.
UPDATE fires INDEXED BY fires_queued SET outcome = 'skipped_overlap' WHERE schedule_id = ? AND outcome = 'queued'

-- name: count_queued
-- How many times of the schedule wait to be started, counted no further than a bound.
SELECT count(*) FROM (SELECT 1 FROM fires INDEXED BY fires_queued WHERE schedule_id = ? AND outcome = 'queued' LIMIT ?)

-- name: started_at
-- Whether a nominal time was started.
SELECT 1 FROM fires WHERE schedule_id = ? AND nominal = ? AND execution_id IS NOT NULL

-- name: open_of_schedule
-- What the schedule has started and has not ended, of its last hundred; the latest time first. The planner
-- would rather walk over all that was skipped.
SELECT f.execution_id FROM (
    SELECT execution_id, nominal FROM fires INDEXED BY fires_started WHERE schedule_id = ? AND execution_id IS NOT NULL
    ORDER BY nominal DESC LIMIT 100) f
JOIN wakes w ON w.execution_id = f.execution_id ORDER BY f.nominal DESC

-- name: fires_of_schedule
-- The latest times first.
SELECT nominal, at, outcome, execution_id FROM fires WHERE schedule_id = ? ORDER BY nominal DESC LIMIT ?

-- name: queued_fires
-- The oldest queued time of each schedule, if nothing stands in its way any more; but for schedules of some flows
-- (a JSON array). A document that is damaged counts as one that minds what is open.
SELECT f.nominal, s.id, s.version, CAST(s.document AS BLOB), s.is_paused, s.cursor, s.next_at, s.zone_data,
    s.changed_at
FROM fires f JOIN schedules s ON s.id = f.schedule_id
WHERE f.outcome = 'queued' AND s.is_paused = 0
    AND NOT EXISTS (SELECT 1 FROM fires o INDEXED BY fires_queued
        WHERE o.schedule_id = f.schedule_id AND o.outcome = 'queued' AND o.nominal < f.nominal)
    AND coalesce(CASE WHEN json_valid(s.document) THEN s.document ->> '$.flow_id' END, '')
        NOT IN (SELECT value FROM json_each(?))
    AND (CASE WHEN json_valid(s.document) THEN s.document ->> '$.overlap' END IN ('allow', 'cancel') OR NOT EXISTS (
        SELECT 1 FROM (SELECT execution_id FROM fires p INDEXED BY fires_started WHERE p.schedule_id = f.schedule_id
            AND p.execution_id IS NOT NULL ORDER BY p.nominal DESC LIMIT 100) p
        JOIN wakes w ON w.execution_id = p.execution_id))
ORDER BY f.at LIMIT ?

-- name: forget_fires
-- The oldest that are older than anybody may ask for.
DELETE FROM fires WHERE (schedule_id, nominal) IN (
    SELECT schedule_id, nominal FROM fires WHERE at < ? AND outcome <> 'queued' ORDER BY at LIMIT ?)

-- name: flow_for_schedule
-- The text of a published flow: of a version, or of the newest.
SELECT v.digest, CAST(d.text AS BLOB) FROM flows f
JOIN versions v ON v.flow_id = f.id AND v.version = coalesce(?2, f.newest)
JOIN definitions d ON d.digest = v.digest WHERE f.id = ?1 AND f.is_deleted = 0

-- name: digest_for_schedule
-- Which text that is.
SELECT v.digest FROM flows f JOIN versions v ON v.flow_id = f.id AND v.version = coalesce(?2, f.newest)
WHERE f.id = ?1 AND f.is_deleted = 0
