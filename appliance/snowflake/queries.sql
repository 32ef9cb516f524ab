-- name: AcquireNode :many
-- Takes the lowest number whose interval has ended, or that nobody ever had.
-- No row: another process was faster, or all are taken.
INSERT INTO snowflake_node_lease AS l (node, holder, host, pid, acquired_at, expires_at)
SELECT free.node, sqlc.arg(holder), sqlc.arg(host), sqlc.arg(pid), now(), now() + sqlc.arg(ttl_ms)::bigint * interval '1 millisecond'
FROM (
    SELECT n.node::smallint AS node
    FROM generate_series(1, 1023) AS n(node)
    LEFT JOIN snowflake_node_lease AS taken ON taken.node = n.node
    WHERE taken.node IS NULL OR taken.expires_at <= now()
    ORDER BY n.node
    LIMIT 1
) AS free
ON CONFLICT (node) DO UPDATE
SET holder = excluded.holder, host = excluded.host, pid = excluded.pid,
    acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
WHERE l.expires_at <= now()
RETURNING node, acquired_at, expires_at;

-- name: TakeNode :many
-- Takes one number. When it is still in use by the given holder, the next
-- interval begins where that one's ends, even when that is later than now. No
-- row: somebody else has it.
INSERT INTO snowflake_node_lease AS l (node, holder, host, pid, acquired_at, expires_at)
VALUES (sqlc.arg(node), sqlc.arg(holder), sqlc.arg(host), sqlc.arg(pid), now(), now() + sqlc.arg(ttl_ms)::bigint * interval '1 millisecond')
ON CONFLICT (node) DO UPDATE
SET holder = excluded.holder, host = excluded.host, pid = excluded.pid,
    acquired_at = greatest(now(), l.expires_at),
    expires_at = greatest(now(), l.expires_at) + sqlc.arg(ttl_ms)::bigint * interval '1 millisecond'
WHERE l.expires_at <= now() OR l.holder = sqlc.arg(successor_of)::uuid
RETURNING node, acquired_at, expires_at;

-- name: RenewNode :many
-- Extends the holder's own interval. No row: it is the holder no more.
UPDATE snowflake_node_lease
SET expires_at = greatest(now(), sqlc.arg(id_time)::timestamptz) + sqlc.arg(ttl_ms)::bigint * interval '1 millisecond'
WHERE node = sqlc.arg(node) AND holder = sqlc.arg(holder)
RETURNING now()::timestamptz AS at, expires_at;

-- name: ReleaseNode :exec
-- Gives back what the holder has not used of its interval.
UPDATE snowflake_node_lease
SET expires_at = least(expires_at, sqlc.arg(unused)::timestamptz)
WHERE node = sqlc.arg(node) AND holder = sqlc.arg(holder);

-- name: OldestNode :one
-- The number whose interval ends first.
SELECT node, holder FROM snowflake_node_lease WHERE node > 0 ORDER BY expires_at, node LIMIT 1;

-- name: NodeHolder :many
SELECT holder, host, pid, expires_at FROM snowflake_node_lease WHERE node = sqlc.arg(node);
