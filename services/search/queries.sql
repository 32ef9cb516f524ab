-- name: Account :one
-- The version is taken before the row is looked at: whoever reads a newer row
-- later has a greater one.
SELECT id, name, handle, bio, locale, created_at, is_active, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS version
FROM users WHERE id = @id;

-- name: HeldAccount :one
-- Nobody changes the account until the end of the transaction. One that
-- somebody changes at this moment is not found: they may be waiting for us.
SELECT id, name, handle, bio, locale, created_at, is_active FROM users WHERE id = @id FOR SHARE SKIP LOCKED;

-- name: Version :one
SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS version;

-- name: Accounts :many
SELECT id, name, handle, bio, locale, created_at, is_active, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS version
FROM users WHERE id > @after ORDER BY id LIMIT @most;

-- name: CountOpen :one
-- Of the accounts that can be found.
SELECT count(*) FROM search_users;

-- name: Rebuild :one
SELECT index_name, position, done, total, started_at, updated_at FROM search_rebuilds WHERE name = @name;

-- name: BeginRebuild :exec
INSERT INTO search_rebuilds (name, index_name, position, done, total, started_at, updated_at)
VALUES (@name, @index_name, 0, 0, @total, now(), now())
ON CONFLICT (name) DO UPDATE SET index_name = excluded.index_name, position = 0, done = 0, total = excluded.total, started_at = now(), updated_at = now();

-- name: AdvanceRebuild :exec
UPDATE search_rebuilds SET position = @position, done = @done, updated_at = now() WHERE name = @name AND index_name = @index_name;

-- name: EndRebuild :exec
DELETE FROM search_rebuilds WHERE name = @name;

-- name: CountAccounts :one
-- All that could be found, and all that can.
SELECT (SELECT count(*) FROM users WHERE is_active) AS accounts, (SELECT count(*) FROM search_users) AS indexed;

-- name: NoteRebuilt :exec
INSERT INTO search_rebuilt (engine, index_name, accounts, seconds, finished_at) VALUES (@engine, @index_name, @accounts, @seconds, @finished_at)
ON CONFLICT (engine) DO UPDATE SET
    index_name = excluded.index_name, accounts = excluded.accounts, seconds = excluded.seconds, finished_at = excluded.finished_at;

-- name: LastRebuilt :many
SELECT engine, index_name, accounts, seconds, finished_at FROM search_rebuilt ORDER BY engine;
