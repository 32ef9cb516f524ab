-- name: Store :exec
INSERT INTO metric_history (minute, node, points) VALUES (@minute, @node, @points::float8[])
ON CONFLICT (minute, node) DO UPDATE SET points = excluded.points;

-- name: Trim :execrows
DELETE FROM metric_history WHERE minute < @before;
