-- +goose Up

-- When each schedule is due next, so that a start can tell what a downtime
-- missed.
CREATE TABLE schedules (
    name    text        PRIMARY KEY,
    cron    text        NOT NULL,
    next_at timestamptz NOT NULL
);

-- One row a firing. Whoever inserts it fires; nobody else does.
CREATE TABLE schedule_firings (
    schedule    text        NOT NULL,
    fire_at     timestamptz NOT NULL,
    outcome     text        NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed', 'missed')),
    host        text        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    error       text,
    PRIMARY KEY (schedule, fire_at)
);

CREATE INDEX schedule_firings_age ON schedule_firings (fire_at);
