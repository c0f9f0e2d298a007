-- name: published_flows
-- The newest version of each published flow. Texts come as bytes: a damaged one must not stop the reading.
SELECT f.id, v.version, v.digest,
    CAST(CASE WHEN json_valid(d.text) THEN json_extract(d.text, '$.name') END AS BLOB),
    v.published_at, CAST(v.publisher AS BLOB), f.is_deleted
FROM flows f JOIN versions v ON v.flow_id = f.id AND v.version = f.newest
    LEFT JOIN definitions d ON d.digest = v.digest
WHERE f.is_deleted = 0 AND f.id > ? ORDER BY f.id LIMIT ?

-- name: versions_of_flow
-- The newest first.
SELECT f.id, v.version, v.digest,
    CAST(CASE WHEN json_valid(d.text) THEN json_extract(d.text, '$.name') END AS BLOB),
    v.published_at, CAST(v.publisher AS BLOB), f.is_deleted
FROM flows f JOIN versions v ON v.flow_id = f.id LEFT JOIN definitions d ON d.digest = v.digest
WHERE f.id = ?1 AND v.version < ?2 ORDER BY v.version DESC LIMIT ?3

-- name: version_of_flow
-- One version, or the newest one.
SELECT f.id, v.version, v.digest,
    CAST(CASE WHEN json_valid(d.text) THEN json_extract(d.text, '$.name') END AS BLOB),
    v.published_at, CAST(v.publisher AS BLOB), f.is_deleted
FROM flows f JOIN versions v ON v.flow_id = f.id LEFT JOIN definitions d ON d.digest = v.digest
WHERE f.id = ?1 AND v.version = coalesce(?2, f.newest)

-- name: publish_flow
-- The flow is published, and this is its newest version.
INSERT INTO flows (id, newest, is_deleted, changed_at) VALUES (?1, ?2, 0, ?3)
ON CONFLICT DO UPDATE SET newest = ?2, is_deleted = 0, changed_at = ?3

-- name: add_version
-- A version, which never changes.
INSERT INTO versions (flow_id, version, digest, published_at, publisher) VALUES (?, ?, ?, ?, ?)

-- name: unpublish_flow
-- It can be started no more.
UPDATE flows SET is_deleted = 1, changed_at = ?2 WHERE id = ?1
