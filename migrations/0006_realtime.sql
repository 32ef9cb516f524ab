-- +goose Up

-- The log of events, shared by all nodes. A service adds a row in its own
-- transaction; after the commit one node at a time numbers what is new, and
-- every node tells its connections in the order of the numbers.
CREATE TABLE realtime_events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq        bigint      UNIQUE, -- null: committed, not numbered yet
    channel    text        NOT NULL CHECK (length(channel) <= 64),
    payload    text        NOT NULL, -- one line of JSON, sent as it is
    -- Whose connections end with this event: a session, or '*' for all of the
    -- channel's user. Empty: nobody's.
    closes     text        NOT NULL DEFAULT '',
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What waits for its number, in the order of coming.
CREATE INDEX realtime_events_new ON realtime_events (id) WHERE seq IS NULL;
-- What a connection missed in its channels; also what exceeds a channel's count.
CREATE INDEX realtime_events_channel ON realtime_events (channel, seq);
-- Retention.
CREATE INDEX realtime_events_expiry ON realtime_events (expires_at);

-- The end of the log. The row is also the lock of whoever numbers. The epoch
-- changes when numbers may be given a second time (a restored database), which
-- makes all positions of before unknown.
CREATE TABLE realtime_log (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch     bigint  NOT NULL,
    last_seq  bigint  NOT NULL DEFAULT 0,
    -- Up to here nobody remembers which channels lost events.
    floor_seq bigint  NOT NULL DEFAULT 0
);
INSERT INTO realtime_log (epoch) VALUES (('x' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 15))::bit(60)::bigint);

-- Gives the next numbers to the oldest events that have none, up to p_most, and
-- what they are in the order of their numbers, the first being o_before + 1.
-- Who calls at the same time waits, and then sees what the other has done: each
-- statement of the function looks anew. It is a function for the sake of its
-- plans, which the connections behind the pooler keep; without sequential scans,
-- since the plans are made while the table is still empty.
-- +goose StatementBegin
CREATE FUNCTION realtime_number(
    p_most integer, OUT o_epoch bigint, OUT o_before bigint, OUT o_channels text[], OUT o_payloads text[], OUT o_closes text[]
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    SELECT l.epoch, l.last_seq INTO o_epoch, o_before FROM realtime_log l WHERE l.one FOR UPDATE;
    WITH fresh AS (
        SELECT oldest.id, row_number() OVER (ORDER BY oldest.id) AS n
        FROM (SELECT e.id FROM realtime_events e WHERE e.seq IS NULL ORDER BY e.id LIMIT p_most) oldest
    ), numbered AS (
        UPDATE realtime_events e SET seq = o_before + fresh.n FROM fresh WHERE e.id = fresh.id
        RETURNING fresh.n, e.channel, e.payload, e.closes
    )
    SELECT array_agg(d.channel ORDER BY d.n), array_agg(d.payload ORDER BY d.n), array_agg(d.closes ORDER BY d.n)
    INTO o_channels, o_payloads, o_closes FROM numbered d;
    IF o_channels IS NOT NULL THEN
        UPDATE realtime_log SET last_seq = o_before + cardinality(o_channels) WHERE one;
    END IF;
END $$;
-- +goose StatementEnd

-- The last event of a channel that retention has deleted: who stands before it
-- has missed something that is gone.
CREATE TABLE realtime_trimmed (
    channel text   PRIMARY KEY,
    seq     bigint NOT NULL
);
CREATE INDEX realtime_trimmed_seq ON realtime_trimmed (seq);

-- Tickets to open one connection. They live for seconds, so a crash may take
-- them.
CREATE UNLOGGED TABLE realtime_tickets (
    digest     bytea       PRIMARY KEY, -- SHA-256 of the ticket
    user_id    bigint      NOT NULL,
    session_id text        NOT NULL,
    issued_at  timestamptz NOT NULL, -- of the access token
    ends_at    timestamptz NOT NULL, -- of the access token
    expires_at timestamptz NOT NULL
);
CREATE INDEX realtime_tickets_expiry ON realtime_tickets (expires_at);
