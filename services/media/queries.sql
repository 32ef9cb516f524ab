-- Files and assets.

-- name: KeepFile :exec
INSERT INTO media_files (key, owner_id, mime, size, sha256, width, height, thumbnail)
VALUES (@key, sqlc.narg(owner_id), @mime, @size, @sha256, sqlc.narg(width), sqlc.narg(height), sqlc.narg(thumbnail));

-- ReleaseFile says that nobody needs a file any more, nor its thumbnail.
-- name: ReleaseFile :exec
UPDATE media_files SET released_at = now()
WHERE released_at IS NULL
  AND (key = @key::text OR key = (SELECT f.thumbnail FROM media_files f WHERE f.key = @key::text));

-- Known gives those of some keys that have a row.
-- name: Known :many
SELECT key FROM media_files WHERE key = ANY (@keys::text[])
UNION ALL
SELECT key FROM media_grants WHERE key = ANY (@keys::text[]) AND expires_at > now();

-- name: Released :many
SELECT f.key FROM media_files f
WHERE f.released_at < @before::timestamptz
  AND NOT EXISTS (SELECT FROM media_files o WHERE o.thumbnail = f.key)
  AND NOT EXISTS (SELECT FROM media_assets a WHERE a.file_key = f.key)
ORDER BY f.released_at LIMIT @most;

-- name: ForgetFile :exec
DELETE FROM media_files WHERE key = @key;

-- name: Grant :exec
INSERT INTO media_grants (key, owner_id, mime, expires_at) VALUES (@key, @owner_id, @mime, @expires_at);

-- name: Granted :one
SELECT mime FROM media_grants WHERE key = @key AND owner_id = @owner_id AND expires_at > now();

-- TakeGrant uses a permission up: one of those who try gets it.
-- name: TakeGrant :execrows
DELETE FROM media_grants WHERE key = @key AND owner_id = @owner_id;

-- name: LapseGrants :exec
DELETE FROM media_grants WHERE expires_at < now() - interval '1 day';

-- name: InsertAsset :exec
INSERT INTO media_assets (id, owner_id, s3_key, mime, width, height, duration, status, checksum, meta, file_key, created_at, updated_at)
VALUES (@id, @owner_id, @s3_key, @mime, sqlc.narg(width), sqlc.narg(height), sqlc.narg(duration), @status, @checksum, @meta, sqlc.narg(file_key), @now, @now);

-- name: Asset :one
SELECT a.id, a.s3_key, a.mime, a.width, a.height, a.duration, a.status, a.checksum, a.meta, a.file_key, f.thumbnail, a.created_at
FROM media_assets a LEFT JOIN media_files f ON f.key = a.file_key
WHERE a.id = @id AND a.owner_id = @owner_id;

-- name: UpdateAsset :execrows
UPDATE media_assets SET s3_key = @s3_key, mime = @mime, width = sqlc.narg(width), height = sqlc.narg(height), duration = sqlc.narg(duration), meta = @meta, updated_at = @now
WHERE id = @id AND owner_id = @owner_id;

-- name: DeleteAsset :execrows
DELETE FROM media_assets WHERE id = @id AND owner_id = @owner_id;

-- AssetsDesc gives a page, newest first.
-- name: AssetsDesc :many
SELECT a.id, a.s3_key, a.mime, a.width, a.height, a.duration, a.status, a.checksum, a.meta, a.file_key, f.thumbnail, a.created_at
FROM media_assets a LEFT JOIN media_files f ON f.key = a.file_key
WHERE a.owner_id = @owner_id AND (NOT @bounded::boolean OR (a.created_at, a.id) < (@at::timestamptz, @after_id::bigint))
ORDER BY a.created_at DESC, a.id DESC LIMIT @most;

-- name: AssetsAsc :many
SELECT a.id, a.s3_key, a.mime, a.width, a.height, a.duration, a.status, a.checksum, a.meta, a.file_key, f.thumbnail, a.created_at
FROM media_assets a LEFT JOIN media_files f ON f.key = a.file_key
WHERE a.owner_id = @owner_id AND (NOT @bounded::boolean OR (a.created_at, a.id) > (@at::timestamptz, @after_id::bigint))
ORDER BY a.created_at, a.id LIMIT @most;

-- CountFiles looks through all files.
-- name: CountFiles :many
SELECT split_part(key, '/', 1)::text AS folder, mime, count(*) AS files, sum(size)::bigint AS bytes, count(released_at) AS released
FROM media_files GROUP BY 1, 2 ORDER BY bytes DESC, 1, 2 LIMIT 100;

-- name: CountAssets :many
SELECT status, (file_key IS NULL)::boolean AS elsewhere, count(*) AS assets FROM media_assets GROUP BY 1, 2 ORDER BY 1, 2;

-- name: OpenGrants :one
SELECT count(*) FROM (SELECT 1 FROM media_grants WHERE expires_at > now() LIMIT 1000) g;

-- NewestFiles gives a page, without the thumbnails of others.
-- name: NewestFiles :many
SELECT f.key, f.owner_id, f.mime, f.size, f.width, f.height, f.created_at, f.released_at
FROM media_files f
WHERE (f.created_at, f.key) < (@at::timestamptz, @after_key::text)
  AND NOT EXISTS (SELECT FROM media_files o WHERE o.thumbnail = f.key)
ORDER BY f.created_at DESC, f.key DESC LIMIT @most;

-- name: FirstFile :one
SELECT created_at FROM media_files ORDER BY created_at LIMIT 1;

-- Sample gives files from a moment on; those that nobody needs are left out.
-- name: Sample :many
SELECT key, size FROM media_files WHERE created_at >= @since::timestamptz AND released_at IS NULL
ORDER BY created_at, key LIMIT @most;

-- name: Latest :many
SELECT key, size FROM media_files WHERE released_at IS NULL ORDER BY created_at DESC, key DESC LIMIT @most;

-- name: StillNeeded :one
SELECT EXISTS (SELECT FROM media_files WHERE key = @key AND released_at IS NULL);

-- name: Report :one
SELECT started_at, finished_at, found, error FROM media_reports WHERE kind = @kind;

-- name: PutReport :exec
INSERT INTO media_reports (kind, started_at, finished_at, found, error) VALUES (@kind, @started_at, @finished_at, @found, @error)
ON CONFLICT (kind) DO UPDATE SET started_at = excluded.started_at, finished_at = excluded.finished_at, found = excluded.found, error = excluded.error;
