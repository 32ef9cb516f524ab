-- +goose Up

-- What the operator's desk shows of files, searches and payments: the newest
-- rows and those of a day without a walk through all, and what was found last.

CREATE INDEX media_files_newest ON media_files (created_at, key);

-- What the last sweep removed, and what the last look at some files found.
CREATE TABLE media_reports (
    kind        text        PRIMARY KEY CHECK (kind IN ('sweep', 'check')),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    found       jsonb       NOT NULL,
    error       text        NOT NULL -- '': it came to its end
);

-- The last rebuild of each index that came to its end.
CREATE TABLE search_rebuilt (
    engine      text             PRIMARY KEY,
    index_name  text             NOT NULL,
    accounts    bigint           NOT NULL,
    seconds     double precision NOT NULL,
    finished_at timestamptz      NOT NULL
);

CREATE INDEX payment_checkouts_newest ON payment_checkouts (created_at);
CREATE INDEX payment_checkouts_status ON payment_checkouts (status, id);
CREATE INDEX payment_events_newest ON payment_events (created_at, provider_event_id);
CREATE INDEX payment_notices_newest ON payment_notices (created_at, provider_event_id);

-- Why the ledger did not take a payment. It may take it when the provider sends
-- the event again.
ALTER TABLE payment_events ADD COLUMN refused text CHECK (length(refused) BETWEEN 1 AND 255);
CREATE INDEX payment_events_refused ON payment_events (created_at) WHERE refused IS NOT NULL AND status = 'received';

-- What the last check of the ledger found.
CREATE TABLE coin_checks (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    report      jsonb       NOT NULL
);
