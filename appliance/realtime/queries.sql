-- name: AddEvent :exec
INSERT INTO realtime_events (channel, payload, closes, expires_at)
VALUES (@channel, @payload, @closes, now() + sqlc.arg(keep_seconds)::bigint * interval '1 second');

-- name: NumberEvents :one
-- Numbers what is new, see realtime_number.
SELECT o_epoch::bigint AS epoch, o_before::bigint AS before, COALESCE(o_channels, '{}')::text[] AS channels,
    COALESCE(o_payloads, '{}')::text[] AS payloads, COALESCE(o_closes, '{}')::text[] AS closes
FROM realtime_number(@most);

-- name: Head :one
SELECT epoch, last_seq, EXISTS (SELECT FROM realtime_events WHERE seq IS NULL) AS waiting FROM realtime_log WHERE one;

-- name: EventsAfter :many
SELECT seq::bigint AS seq, channel, payload, closes FROM realtime_events
WHERE seq > @after::bigint AND seq <= @until::bigint ORDER BY seq LIMIT @most;

-- name: RecentEvents :many
SELECT seq::bigint AS seq, channel, payload, closes FROM realtime_events
WHERE seq <= @until::bigint ORDER BY seq DESC LIMIT @most;

-- name: Missed :many
SELECT seq::bigint AS seq, channel, payload, closes FROM realtime_events
WHERE channel = ANY(@channels::text[]) AND seq > @after::bigint AND seq <= @until::bigint ORDER BY seq LIMIT @most;

-- name: Lost :one
-- Whether something after a position is gone from one of the channels. It is
-- asked after reading what was missed: retention may run between the two.
SELECT (l.floor_seq > @after::bigint OR EXISTS (
    SELECT FROM realtime_trimmed t WHERE t.channel = ANY(@channels::text[]) AND t.seq > @after::bigint
))::boolean AS lost FROM realtime_log l WHERE l.one;

-- name: LastTrimmed :one
SELECT GREATEST(l.floor_seq, COALESCE((SELECT max(t.seq) FROM realtime_trimmed t), 0))::bigint AS seq FROM realtime_log l WHERE l.one;

-- name: TrimExpired :many
-- Deletes a step of what is too old and notes where each channel was cut.
WITH gone AS (
    DELETE FROM realtime_events WHERE id IN (
        SELECT e.id FROM realtime_events e WHERE e.expires_at < now() AND e.seq IS NOT NULL ORDER BY e.expires_at LIMIT @most
    ) RETURNING channel, seq, created_at
), noted AS (
    INSERT INTO realtime_trimmed AS t (channel, seq)
    SELECT channel, max(seq) FROM gone GROUP BY channel
    ON CONFLICT (channel) DO UPDATE SET seq = GREATEST(t.seq, excluded.seq)
)
SELECT seq::bigint AS seq, created_at FROM gone;

-- name: TrimCrowded :execrows
-- Deletes what exceeds the count of one class of channels, told by its prefix,
-- among channels that got events after a number.
WITH busy AS (
    SELECT DISTINCT e.channel FROM realtime_events e WHERE e.seq > @after::bigint AND starts_with(e.channel, @prefix)
), cut AS (
    SELECT busy.channel, (
        SELECT k.seq FROM realtime_events k WHERE k.channel = busy.channel AND k.seq IS NOT NULL ORDER BY k.seq DESC OFFSET @keep::bigint LIMIT 1
    ) AS seq FROM busy
), gone AS (
    DELETE FROM realtime_events d USING cut WHERE d.channel = cut.channel AND d.seq <= cut.seq
    RETURNING d.id
), noted AS (
    INSERT INTO realtime_trimmed AS t (channel, seq)
    SELECT cut.channel, cut.seq FROM cut WHERE cut.seq IS NOT NULL
    ON CONFLICT (channel) DO UPDATE SET seq = GREATEST(t.seq, excluded.seq)
)
SELECT id FROM gone;

-- name: RaiseFloor :exec
-- Forgets where channels were cut before a number; positions before it count
-- as too old from now on.
WITH raised AS (
    UPDATE realtime_log SET floor_seq = GREATEST(floor_seq, @seq::bigint) WHERE one
)
DELETE FROM realtime_trimmed WHERE realtime_trimmed.seq <= @seq::bigint;

-- name: AddTicket :exec
INSERT INTO realtime_tickets (digest, user_id, session_id, issued_at, ends_at, expires_at)
VALUES (@digest, @user_id, @session_id, @issued_at, @ends_at, now() + sqlc.arg(life_seconds)::bigint * interval '1 second');

-- name: TakeTicket :one
DELETE FROM realtime_tickets WHERE digest = @digest AND expires_at > now() RETURNING user_id, session_id, issued_at, ends_at;

-- name: DropTickets :execrows
DELETE FROM realtime_tickets WHERE expires_at < now() - interval '1 minute';
