-- +goose Up

-- The archives that were made of this database, one row each, also those that
-- failed. A restored database knows those that were made before its own.
CREATE TABLE backups (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host           text        NOT NULL,
    file           text        NOT NULL, -- absolute path on that host
    started_at     timestamptz NOT NULL, -- of the snapshot
    finished_at    timestamptz,
    outcome        text        NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed')),
    error          text,
    bytes          bigint,
    sha256         text, -- of the file
    verified_at    timestamptz,
    -- verified: restored and counted; checked: read to its end, where the role
    -- may not make a database to restore into.
    verify_outcome text        CHECK (verify_outcome IN ('verified', 'checked', 'failed')),
    verify_error   text
);

CREATE INDEX backups_started ON backups (started_at);
