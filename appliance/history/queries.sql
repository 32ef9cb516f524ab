-- name: Store :exec
-- What is not a number was not measured.
INSERT INTO metric_history (minute, node, points)
VALUES (@minute, @node, ARRAY(SELECT NULLIF(p.point, 'NaN') FROM unnest(@points::float8[]) WITH ORDINALITY AS p(point, place) ORDER BY p.place))
ON CONFLICT (minute, node) DO UPDATE SET points = excluded.points;

-- name: Steps :many
-- Over the time of a step: the mean of rates and amounts, the worst of what
-- people wait for. Over the nodes: the sum and the worst. The places are those
-- of the table in series.go.
WITH node_steps AS (
    SELECT date_bin(make_interval(secs => sqlc.arg(step_seconds)::float8), minute, sqlc.arg(start)::timestamptz) AS step, node,
           avg(points[1]) AS p1, avg(points[2]) AS p2, max(points[3]) AS p3, max(points[4]) AS p4, max(points[5]) AS p5, avg(points[6]) AS p6,
           avg(points[7]) AS p7, avg(points[8]) AS p8, max(points[9]) AS p9, max(points[10]) AS p10, avg(points[11]) AS p11
    FROM metric_history WHERE minute >= sqlc.arg(start)::timestamptz AND minute < sqlc.arg(until)::timestamptz
    GROUP BY 1, 2
)
SELECT step::timestamptz AS step, bool_or(node <> sqlc.arg(node))::boolean AS others,
       ARRAY[COALESCE(sum(p1), 'NaN'), COALESCE(sum(p2), 'NaN'), COALESCE(max(p3), 'NaN'), COALESCE(max(p4), 'NaN'), COALESCE(max(p5), 'NaN'), COALESCE(sum(p6), 'NaN'),
             COALESCE(sum(p7), 'NaN'), COALESCE(sum(p8), 'NaN'), COALESCE(max(p9), 'NaN'), COALESCE(max(p10), 'NaN'), COALESCE(sum(p11), 'NaN')]::float8[] AS points
FROM node_steps GROUP BY step ORDER BY step;

-- name: Trim :execrows
DELETE FROM metric_history WHERE minute < @before;
