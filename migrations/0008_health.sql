-- +goose Up

-- What was wrong, when. A row is written when a problem appears and again when
-- it clears; one whose process died is closed with the last sign of life.
CREATE TABLE health_problems (
    node          text        NOT NULL, -- the process: its machine and its data directory
    code          text        NOT NULL,
    appeared_at   timestamptz NOT NULL,
    failing_since timestamptz NOT NULL,
    cleared_at    timestamptz, -- null: not over, as far as is known
    severity      smallint    NOT NULL CHECK (severity BETWEEN 1 AND 3), -- low, medium, high
    title         text        NOT NULL,
    problem       text        NOT NULL,
    PRIMARY KEY (node, code, appeared_at)
);
CREATE INDEX health_problems_age ON health_problems (appeared_at);
CREATE INDEX health_problems_open ON health_problems (node) WHERE cleared_at IS NULL;

-- The worst of each hour: what remains of a long past. An hour without a row
-- is one in which no process ran.
CREATE TABLE health_hours (
    node         text        NOT NULL,
    hour         timestamptz NOT NULL,
    worst        smallint    NOT NULL CHECK (worst BETWEEN 0 AND 3), -- 0: healthy
    seen_seconds real        NOT NULL CHECK (seen_seconds >= 0),     -- how long the process watched
    seen_at      timestamptz NOT NULL,
    PRIMARY KEY (node, hour)
);
CREATE INDEX health_hours_age ON health_hours (hour);
