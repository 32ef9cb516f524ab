-- name: LockHead :one
-- Whoever holds this row writes the next one. The time is the database's, one
-- for all nodes, and never that of the row before, also when the clock went
-- back.
SELECT seq, hash, greatest(clock_timestamp(), created_at + interval '1 microsecond')::timestamptz AS now
FROM audit_head FOR UPDATE;

-- name: AddEvent :execrows
WITH event AS (
    INSERT INTO audit_events (id, seq, created_at, actor_user, actor_ip, action, object_type, object_id, metadata, hash_prev, hash_self)
    VALUES (@id, @seq, @created_at, sqlc.narg(actor_user), sqlc.narg(actor_ip), @action, @object_type, @object_id, @metadata, @hash_prev, @hash_self)
    RETURNING seq, hash_self, created_at
)
UPDATE audit_head SET seq = event.seq, hash = event.hash_self, created_at = event.created_at FROM event;

-- name: Head :one
SELECT seq, hash FROM audit_head;

-- name: Event :one
SELECT id, seq, created_at, actor_user, actor_ip, action, object_type, object_id, metadata, hash_prev, hash_self
FROM audit_events WHERE id = @id;

-- name: Walk :many
SELECT id, seq, created_at, actor_user, actor_ip, action, object_type, object_id, metadata, hash_prev, hash_self
FROM audit_events WHERE seq > @after AND seq <= @until ORDER BY seq LIMIT @most;

-- name: Stray :many
-- The first row past the end of the chain: it was not written by this package.
SELECT id FROM audit_events WHERE seq > (SELECT h.seq FROM audit_head h) ORDER BY seq LIMIT 1;
