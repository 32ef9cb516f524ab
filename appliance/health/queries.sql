-- name: Store :exec
INSERT INTO health_problems (node, code, appeared_at, failing_since, cleared_at, severity, title, problem)
VALUES (@node, @code, @appeared_at, @failing_since, sqlc.narg(cleared_at), @severity, @title, @problem)
ON CONFLICT (node, code, appeared_at) DO UPDATE SET cleared_at = excluded.cleared_at;

-- name: CloseLost :exec
-- Ends what processes left open that have not been seen for a while, this
-- one's predecessor among them.
UPDATE health_problems AS p
SET cleared_at = GREATEST(p.appeared_at, COALESCE((SELECT max(h.seen_at) FROM health_hours AS h WHERE h.node = p.node), p.appeared_at))
WHERE p.cleared_at IS NULL
  AND (p.node = @node AND p.appeared_at < @started_at
       OR NOT EXISTS (SELECT 1 FROM health_hours AS h WHERE h.node = p.node AND h.seen_at > @silent_since));

-- name: See :exec
INSERT INTO health_hours (node, hour, worst, seen_seconds, seen_at)
VALUES (@node, @hour, @worst, LEAST(@seen_seconds::real, 3600), @seen_at)
ON CONFLICT (node, hour) DO UPDATE
SET worst = GREATEST(health_hours.worst, excluded.worst),
    seen_seconds = LEAST(health_hours.seen_seconds + excluded.seen_seconds, 3600),
    seen_at = GREATEST(health_hours.seen_at, excluded.seen_at);

-- name: Hours :many
-- Of several nodes the worst counts, and that anybody watched.
SELECT hour, max(worst)::smallint AS worst, max(seen_seconds)::real AS seen_seconds
FROM health_hours WHERE hour >= @since GROUP BY hour ORDER BY hour;

-- name: Problems :many
SELECT node, code, appeared_at, failing_since, cleared_at, severity, title, problem
FROM health_problems
WHERE appeared_at >= @since OR cleared_at >= @since OR cleared_at IS NULL
ORDER BY appeared_at DESC, node, code LIMIT @most;

-- name: TrimProblems :execrows
DELETE FROM health_problems WHERE COALESCE(cleared_at, appeared_at) < @before::timestamptz;

-- name: TrimHours :execrows
DELETE FROM health_hours WHERE hour < @before;
