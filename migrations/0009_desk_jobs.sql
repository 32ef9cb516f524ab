-- +goose Up

-- request_id is the request that caused a job, node the host of its last run.
-- last_error is the text of its last failure, kept apart so that a search need
-- not unpack the failures of every row.
ALTER TABLE jobs
    ADD COLUMN request_id text,
    ADD COLUMN node       text,
    ADD COLUMN last_error text GENERATED ALWAYS AS (failures -> -1 ->> 'error') STORED;

-- What an operator looks for. All are partial: a job that simply succeeds
-- enters none of them, unless a request caused it.
CREATE INDEX jobs_request ON jobs (request_id, id) WHERE request_id IS NOT NULL;
CREATE INDEX jobs_cancelled ON jobs (id) WHERE state = 'cancelled';
CREATE INDEX jobs_asked ON jobs (queue, id) WHERE state = 'queued' AND cancel_requested;

-- Where the extension may not or cannot be installed, a search for an error
-- reads the rows.
-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX jobs_error_trgm ON jobs USING gin (last_error gin_trgm_ops) WHERE last_error IS NOT NULL;
EXCEPTION
    WHEN insufficient_privilege OR feature_not_supported OR undefined_file OR undefined_object THEN
        RAISE NOTICE 'pg_trgm is not available: searching the errors of jobs will be slower';
END
$$;
-- +goose StatementEnd

-- Queues whose jobs wait until somebody resumes them.
CREATE TABLE job_pauses (
    queue     text        PRIMARY KEY,
    paused_by text        NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now()
);

-- A paused schedule does not fire by itself.
ALTER TABLE schedules
    ADD COLUMN paused_by text,
    ADD COLUMN paused_at timestamptz,
    ADD CHECK ((paused_by IS NULL) = (paused_at IS NULL));

-- The counts and the state of a schedule without a walk through its firings.
CREATE INDEX schedule_firings_bad ON schedule_firings (schedule, fire_at) WHERE outcome IN ('failed', 'missed');
CREATE INDEX schedule_firings_running ON schedule_firings (schedule) WHERE outcome = 'running';
