-- name: Insert :copyfrom
INSERT INTO request_records (request_id, at, method, route, status, took_us, sql_us, sql_count, statements, user_id, client_ip, node, error, failed, slow)
VALUES (@request_id, @at, @method, @route, @status, @took_us, @sql_us, @sql_count, @statements, sqlc.narg(user_id), @client_ip, @node, @error, @failed, @slow);

-- name: Newest :many
SELECT * FROM request_records
WHERE (at, seq) < (@before_at, @before_seq::bigint) AND status BETWEEN @least AND @most
  AND (sqlc.narg(route)::text IS NULL OR route = sqlc.narg(route))
ORDER BY at DESC, seq DESC LIMIT @count;

-- name: NewestFailed :many
SELECT * FROM request_records
WHERE failed AND (at, seq) < (@before_at, @before_seq::bigint) AND status BETWEEN @least AND @most
  AND (sqlc.narg(route)::text IS NULL OR route = sqlc.narg(route))
ORDER BY at DESC, seq DESC LIMIT @count;

-- name: NewestSlow :many
SELECT * FROM request_records
WHERE slow AND (at, seq) < (@before_at, @before_seq::bigint) AND status BETWEEN @least AND @most
  AND (sqlc.narg(route)::text IS NULL OR route = sqlc.narg(route))
ORDER BY at DESC, seq DESC LIMIT @count;

-- name: ByRequest :many
SELECT * FROM request_records WHERE request_id = @request_id ORDER BY at DESC LIMIT @count;

-- name: Trim :execrows
-- Deletes some of the oldest; the caller repeats it until there are none.
DELETE FROM request_records AS r
WHERE r.seq IN (SELECT o.seq FROM request_records AS o WHERE o.at < @before ORDER BY o.at, o.seq LIMIT @count);
