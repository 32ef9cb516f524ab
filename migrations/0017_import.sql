-- +goose Up

-- What "selflink import" has copied from the database of the old backend: each
-- old row once, with a digest of what was written of it. A row with the same
-- digest was copied before and is not looked at again, also when it was changed
-- or deleted here since; one whose copy still has that digest was not changed
-- here, and follows what changes in the old database.
CREATE TABLE import_rows (
    kind   text   NOT NULL, -- of the rows: accounts, mentor messages
    old_id bigint NOT NULL, -- in the old table
    digest bytea  NOT NULL CHECK (length(digest) = 16),
    PRIMARY KEY (kind, old_id)
);
