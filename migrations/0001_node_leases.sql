-- +goose Up

-- One row per possible node number of snowflake ids. A process holds a number
-- by writing its own token and a time until which it may mint; the row stays
-- behind for the next holder. See package snowflake for why no two processes
-- can mint under one number at once.
CREATE TABLE snowflake_node_lease (
    node        smallint    PRIMARY KEY CHECK (node BETWEEN 0 AND 1023),
    holder      uuid        NOT NULL,
    host        text        NOT NULL,
    pid         integer     NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
