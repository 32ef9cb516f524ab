-- name: Begin :one
INSERT INTO backups (host, file, started_at, outcome) VALUES (@host, @file, @started_at, 'running') RETURNING id;

-- name: Abandoned :execrows
-- Only one backup is made at a time, so at the start of one all others have
-- ended, whatever they managed to write down.
UPDATE backups SET outcome = 'failed', finished_at = now(), error = 'the process that made it ended' WHERE outcome = 'running';

-- name: Succeed :exec
UPDATE backups SET outcome = 'succeeded', finished_at = now(), error = NULL, bytes = @bytes::bigint, sha256 = @sha256::text WHERE id = @id;

-- name: Fail :exec
UPDATE backups SET outcome = 'failed', finished_at = now(), error = @error::text WHERE id = @id;

-- name: Verified :execrows
-- By its checksum, because an archive may have been moved.
UPDATE backups SET verified_at = now(), verify_outcome = @outcome::text, verify_error = NULL WHERE sha256 = @sha256::text;

-- name: VerifyFailed :execrows
-- A damaged archive has another checksum, so it is known by its name.
UPDATE backups SET verified_at = now(), verify_outcome = 'failed', verify_error = @error::text
WHERE host = @host AND file = @file AND outcome = 'succeeded';

-- name: Known :exec
-- An archive that was just restored, in the database that came out of it.
INSERT INTO backups (host, file, started_at, finished_at, outcome, bytes, sha256, verified_at, verify_outcome)
SELECT @host::text, @file::text, @started_at::timestamptz, @finished_at::timestamptz, 'succeeded', @bytes::bigint, @sha256::text, now(), 'verified'
WHERE NOT EXISTS (SELECT FROM backups WHERE sha256 = @sha256::text);

-- name: List :many
SELECT id, host, file, started_at, finished_at, outcome, error, bytes, sha256, verified_at, verify_outcome, verify_error
FROM backups ORDER BY started_at DESC, id DESC LIMIT @most;

-- name: NewestVerified :one
-- Of some files of this host.
SELECT file FROM backups
WHERE host = @host AND file = ANY (@files::text[]) AND verify_outcome IN ('verified', 'checked')
ORDER BY started_at DESC LIMIT 1;

-- name: NewestGood :one
-- The start of the newest backup that was found good, wherever its file is.
SELECT started_at FROM backups WHERE verify_outcome IN ('verified', 'checked') ORDER BY started_at DESC LIMIT 1;

-- name: Forget :execrows
DELETE FROM backups WHERE started_at < @before;
