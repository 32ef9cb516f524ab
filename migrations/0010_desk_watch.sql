-- +goose Up

-- Requests that failed or were slow, for a day. They come in batches and a
-- little late; a process that dies takes what it has not written with it.
CREATE TABLE request_records (
    seq        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id text        NOT NULL CHECK (length(request_id) <= 128), -- not unique: a client may send its own
    at         timestamptz NOT NULL, -- when it came
    method     text        NOT NULL,
    route      text        NOT NULL, -- the pattern: neither ids nor the query
    status     smallint    NOT NULL,
    took_us    bigint      NOT NULL,
    sql_us     bigint      NOT NULL,
    sql_count  integer     NOT NULL,
    statements jsonb       NOT NULL, -- the slowest by name, without arguments: [{"name", "at", "us", "count"}]
    user_id    bigint,
    client_ip  text        NOT NULL,
    node       text        NOT NULL,
    error      text        NOT NULL, -- redacted; empty: nothing was said
    failed     boolean     NOT NULL,
    slow       boolean     NOT NULL
);
-- Lists, and retention.
CREATE INDEX request_records_age ON request_records (at, seq);
CREATE INDEX request_records_failed ON request_records (at, seq) WHERE failed;
CREATE INDEX request_records_slow ON request_records (at, seq) WHERE slow;
CREATE INDEX request_records_route ON request_records (route, at, seq);
-- What is known of one request.
CREATE INDEX request_records_request ON request_records (request_id, at);

-- The curves of the overview: a row per minute and node. What the places of
-- the array mean is listed in the code that writes them; new ones are added at
-- the end. A place that is null, or missing, was not measured.
CREATE TABLE metric_history (
    minute timestamptz        NOT NULL,
    node   text               NOT NULL,
    points double precision[] NOT NULL,
    PRIMARY KEY (minute, node)
);
