-- name: Digests :many
SELECT old_id, digest FROM import_rows WHERE kind = @kind AND old_id = ANY(@ids::bigint[]);

-- name: KeepDigests :exec
INSERT INTO import_rows AS r (kind, old_id, digest)
SELECT @kind, (@ids::bigint[])[i], (@digests::bytea[])[i] FROM generate_subscripts(@ids::bigint[], 1) AS i
ON CONFLICT (kind, old_id) DO UPDATE SET digest = excluded.digest;

-- name: CountDigests :one
SELECT count(*) FROM import_rows WHERE kind = @kind;
