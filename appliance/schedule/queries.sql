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
INSERT INTO schedule_firings (schedule, fire_at, outcome, host) VALUES (@schedule, @fire_at, 'running', @host)
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

-- name: Last :one
SELECT schedule, fire_at, outcome, host, started_at, finished_at, error
FROM schedule_firings WHERE schedule = @schedule ORDER BY fire_at DESC LIMIT 1;

-- name: LastMissed :many
-- The last firings of schedules, where nobody did them.
SELECT l.schedule::text AS schedule, l.fire_at::timestamptz AS fire_at
FROM unnest(@names::text[]) AS n(name)
CROSS JOIN LATERAL (
    SELECT schedule, fire_at, outcome FROM schedule_firings WHERE schedule = n.name ORDER BY fire_at DESC LIMIT 1
) AS l
WHERE l.outcome = 'missed' ORDER BY l.schedule;

-- name: Firings :many
SELECT schedule, fire_at, outcome, host, started_at, finished_at, error
FROM schedule_firings WHERE schedule = @schedule AND fire_at < @before ORDER BY fire_at DESC LIMIT @most;

-- name: Next :one
SELECT next_at FROM schedules WHERE name = @name;

-- name: Purge :execrows
DELETE FROM schedule_firings WHERE fire_at < @before;
