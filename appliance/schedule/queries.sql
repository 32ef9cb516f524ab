-- name: Plan :one
-- Keeps the earlier of the known and the given time: the known one may be what
-- a downtime missed. A changed cron expression starts anew.
INSERT INTO schedules (name, cron, next_at) VALUES (@name, @cron, @next_at)
ON CONFLICT (name) DO UPDATE
SET next_at = CASE WHEN schedules.cron = excluded.cron THEN schedules.next_at ELSE excluded.next_at END, cron = excluded.cron
RETURNING next_at;

-- name: Advance :exec
UPDATE schedules SET next_at = @next_at WHERE name = @name AND next_at < @next_at;

-- name: Claim :execrows
-- A paused schedule does not fire, unless by hand.
INSERT INTO schedule_firings (schedule, fire_at, outcome, host)
SELECT @schedule::text, @fire_at::timestamptz, 'running', @host::text
WHERE @by_hand::bool OR NOT EXISTS (SELECT 1 FROM schedules AS s WHERE s.name = @schedule::text AND s.paused_at IS NOT NULL)
ON CONFLICT (schedule, fire_at) DO NOTHING;

-- name: Finish :exec
UPDATE schedule_firings SET outcome = @outcome, finished_at = now(), error = sqlc.narg(error)::text
WHERE schedule = @schedule AND fire_at = @fire_at;

-- name: Miss :exec
INSERT INTO schedule_firings (schedule, fire_at, outcome, host, finished_at) VALUES (@schedule, @fire_at, 'missed', @host, now())
ON CONFLICT (schedule, fire_at) DO NOTHING;

-- name: Abandoned :execrows
UPDATE schedule_firings SET outcome = 'failed', finished_at = now(), error = 'the process that ran it ended'
WHERE schedule = @schedule AND outcome = 'running' AND started_at < now() - make_interval(secs => @seconds::float8);

-- name: Lock :exec
-- Makes the row of a schedule if need be, and others wait who do the same.
INSERT INTO schedules (name, cron, next_at) VALUES (@name, @cron, @next_at)
ON CONFLICT (name) DO UPDATE SET name = excluded.name;

-- name: Runs :one
SELECT EXISTS (SELECT 1 FROM schedule_firings WHERE schedule = @schedule AND outcome = 'running');

-- name: Pause :exec
-- Who paused it first stays the one who did.
INSERT INTO schedules (name, cron, next_at, paused_by, paused_at) VALUES (@name, @cron, @next_at, @by::text, now())
ON CONFLICT (name) DO UPDATE SET paused_by = excluded.paused_by, paused_at = excluded.paused_at
WHERE schedules.paused_at IS NULL;

-- name: Resume :exec
-- What the pause kept from firing was not missed.
UPDATE schedules SET paused_by = NULL, paused_at = NULL, next_at = GREATEST(next_at, @next_at)
WHERE name = @name AND paused_at IS NOT NULL;

-- name: PausedAt :one
SELECT paused_at FROM schedules WHERE name = @name;

-- name: Paused :many
SELECT name, paused_by, paused_at FROM schedules WHERE name = ANY(@names::text[]) AND paused_at IS NOT NULL ORDER BY name;

-- name: Overview :many
-- How schedules are doing. seconds is how long a run of each may take: what
-- runs for longer belongs to a process that ended.
SELECT n.name::text AS name, s.paused_by, s.paused_at,
    EXISTS (
        SELECT 1 FROM schedule_firings AS f
        WHERE f.schedule = n.name AND f.outcome = 'running' AND f.started_at >= now() - make_interval(secs => n.seconds)
    ) AS running,
    (SELECT count(*) FROM schedule_firings AS f WHERE f.schedule = n.name AND f.outcome IN ('failed', 'missed') AND f.outcome = 'missed' AND f.fire_at > now() - interval '30 days') AS missed,
    (SELECT count(*) FROM schedule_firings AS f WHERE f.schedule = n.name AND f.outcome IN ('failed', 'missed') AND f.outcome = 'failed' AND f.fire_at > now() - interval '30 days') AS failed
FROM (SELECT unnest(@names::text[]) AS name, unnest(@seconds::float8[]) AS seconds) AS n
LEFT JOIN schedules AS s ON s.name = n.name;

-- name: LastSuccesses :many
SELECT n.name::text AS schedule, l.finished_at::timestamptz AS finished_at
FROM unnest(@names::text[]) AS n(name)
CROSS JOIN LATERAL (
    SELECT finished_at FROM schedule_firings
    WHERE schedule = n.name AND outcome = 'succeeded' AND finished_at IS NOT NULL ORDER BY fire_at DESC LIMIT 1
) AS l;

-- name: Lasts :many
SELECT l.schedule, l.fire_at, l.outcome, l.host, l.started_at, l.finished_at, l.error
FROM unnest(@names::text[]) AS n(name)
CROSS JOIN LATERAL (
    SELECT schedule, fire_at, outcome, host, started_at, finished_at, error
    FROM schedule_firings WHERE schedule = n.name ORDER BY fire_at DESC LIMIT 1
) AS l;

-- name: Last :one
SELECT schedule, fire_at, outcome, host, started_at, finished_at, error
FROM schedule_firings WHERE schedule = @schedule ORDER BY fire_at DESC LIMIT 1;

-- name: LastMissed :many
-- The last firings of schedules that are not paused, where nobody did them.
SELECT l.schedule::text AS schedule, l.fire_at::timestamptz AS fire_at
FROM unnest(@names::text[]) AS n(name)
CROSS JOIN LATERAL (
    SELECT schedule, fire_at, outcome FROM schedule_firings WHERE schedule = n.name ORDER BY fire_at DESC LIMIT 1
) AS l
WHERE l.outcome = 'missed' AND NOT EXISTS (SELECT 1 FROM schedules AS s WHERE s.name = l.schedule AND s.paused_at IS NOT NULL)
ORDER BY l.schedule;

-- name: Firings :many
SELECT schedule, fire_at, outcome, host, started_at, finished_at, error
FROM schedule_firings WHERE schedule = @schedule AND fire_at < @before ORDER BY fire_at DESC LIMIT @most;

-- name: Next :one
SELECT next_at FROM schedules WHERE name = @name;

-- name: Purge :execrows
DELETE FROM schedule_firings WHERE fire_at < @before;
