-- +goose Up

-- A process that runs jobs. It writes seen_at every second; one that has not
-- done so for some seconds is dead and its running jobs go to others. place
-- and born say which process of which running system it is, so that one on the
-- same machine can tell at once that it is gone.
CREATE TABLE job_instances (
    id         uuid        PRIMARY KEY,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    place      text        NOT NULL,
    born       bigint      NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- One row a job. The ids grow with time (UUIDv7), so the primary key is also
-- the order of lists. run counts claims and never goes back: with claimed_by it
-- names one run for ever. attempt counts only the runs that were not interrupted.
CREATE TABLE jobs (
    id               uuid        PRIMARY KEY,
    kind             text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 100),
    queue            text        NOT NULL CHECK (length(queue) BETWEEN 1 AND 100),
    state            text        NOT NULL CHECK (state IN ('queued', 'scheduled', 'retrying', 'running', 'succeeded', 'dead', 'cancelled')),
    priority         smallint    NOT NULL CHECK (priority BETWEEN 0 AND 2),
    run              integer     NOT NULL DEFAULT 0,
    attempt          integer     NOT NULL DEFAULT 0,
    crashes          integer     NOT NULL DEFAULT 0,
    args             jsonb       NOT NULL,
    result           jsonb,
    failures         jsonb       NOT NULL DEFAULT '[]',
    unique_key       text,
    retain           interval    NOT NULL,
    claimed_by       uuid,
    cancel_requested boolean     NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now(),
    run_at           timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK ((state = 'running') = (claimed_by IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'dead', 'cancelled')) = (finished_at IS NOT NULL))
);

-- At most one unfinished job per kind and key.
CREATE UNIQUE INDEX jobs_unique ON jobs (kind, unique_key)
    WHERE unique_key IS NOT NULL AND finished_at IS NULL;

-- What is due, and what waits without being dispatched.
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX jobs_waiting ON jobs (queue, id) WHERE state = 'queued';

-- Running jobs by their process: take-over and cancellation.
CREATE INDEX jobs_running ON jobs (claimed_by) WHERE state = 'running';

-- Dead jobs are looked for by people; finished ones by retention.
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
