-- +goose Up

-- A double-entry ledger in cents of one currency. What must hold always is
-- enforced here: an event is balanced and complete when its transaction
-- commits, nothing is changed or deleted afterwards, and no user's account goes
-- below zero. Code may ask for better words first; it is not what is trusted.

-- Accounts are known by their key: user:<id> of a person, or one of three of
-- the system. system:mint goes below zero: what it lacks is what was issued.
CREATE TABLE coin_accounts (
    account_key   text        PRIMARY KEY,
    user_id       bigint      CONSTRAINT coin_accounts_user_key UNIQUE REFERENCES users ON DELETE RESTRICT,
    label         text        NOT NULL DEFAULT '' CHECK (length(label) <= 255),
    is_system     boolean     NOT NULL DEFAULT false,
    status        text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    suspended_at  timestamptz,
    -- What a user has, kept by the trigger below. Of system accounts it stays
    -- zero: one row that every event writes would let them run one at a time.
    balance_cents bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT coin_accounts_key CHECK (CASE WHEN is_system
        THEN user_id IS NULL AND account_key IN ('system:fees', 'system:revenue', 'system:mint')
        ELSE user_id IS NOT NULL AND account_key = 'user:' || user_id END),
    CONSTRAINT coin_accounts_overdraft CHECK (balance_cents >= 0),
    -- 2^53: the largest number that every client can read.
    CONSTRAINT coin_accounts_most CHECK (balance_cents <= 9007199254740992),
    CONSTRAINT coin_accounts_suspended CHECK ((status = 'suspended') = (suspended_at IS NOT NULL))
);

INSERT INTO coin_accounts (account_key, label, is_system) VALUES
    ('system:fees', 'Fees', true), ('system:revenue', 'Revenue', true), ('system:mint', 'Mint', true);
INSERT INTO coin_accounts (account_key, user_id) SELECT 'user:' || id, id FROM users;

-- One event is one transaction of the ledger. entry_count says how many entries
-- it has, so that none can be added later.
CREATE TABLE coin_events (
    id              bigint      PRIMARY KEY,
    event_type      text        NOT NULL CHECK (event_type IN ('mint', 'transfer', 'spend', 'refund')),
    occurred_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by      bigint      REFERENCES users ON DELETE RESTRICT,
    idempotency_key text        CONSTRAINT coin_events_idempotency_key UNIQUE CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    metadata        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    note            text        NOT NULL DEFAULT '' CHECK (length(note) <= 255),
    ruleset_version text        NOT NULL DEFAULT 'v1' CHECK (length(ruleset_version) <= 16),
    entry_count     smallint    NOT NULL CHECK (entry_count >= 2),
    CONSTRAINT coin_events_mint_key CHECK (event_type <> 'mint' OR idempotency_key LIKE '_%:_%')
);

CREATE TABLE coin_entries (
    id           bigint      PRIMARY KEY,
    event_id     bigint      NOT NULL REFERENCES coin_events ON DELETE RESTRICT,
    account_key  text        NOT NULL CONSTRAINT coin_entries_account REFERENCES coin_accounts ON DELETE RESTRICT,
    amount_cents bigint      NOT NULL CHECK (amount_cents BETWEEN 1 AND 1000000000000000),
    currency     text        NOT NULL DEFAULT 'SLC' CHECK (currency = 'SLC'),
    direction    text        NOT NULL CHECK (direction IN ('DEBIT', 'CREDIT')),
    metadata     jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at   timestamptz NOT NULL
);

CREATE INDEX coin_entries_account_page ON coin_entries (account_key, created_at, id);
CREATE INDEX coin_entries_event ON coin_entries (event_id);
CREATE INDEX coin_events_mints ON coin_events (id) WHERE event_type = 'mint';

-- +goose StatementBegin
CREATE FUNCTION coin_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER coin_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON coin_events
    FOR EACH STATEMENT EXECUTE FUNCTION coin_refuse();
CREATE TRIGGER coin_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON coin_entries
    FOR EACH STATEMENT EXECUTE FUNCTION coin_refuse();
CREATE TRIGGER coin_accounts_stay BEFORE DELETE OR TRUNCATE ON coin_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION coin_refuse();

-- An account's name stays, and its balance is what the entries' trigger makes
-- it: an UPDATE from there runs one level deeper than anybody else's.
-- +goose StatementBegin
CREATE FUNCTION coin_account_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.balance_cents <> 0 THEN
            RAISE EXCEPTION 'an account begins empty' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.account_key, NEW.user_id, NEW.is_system, NEW.created_at) IS DISTINCT FROM (OLD.account_key, OLD.user_id, OLD.is_system, OLD.created_at)
        OR NEW.balance_cents <> OLD.balance_cents AND pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'the key and the balance of an account are not changed by hand' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER coin_accounts_guard BEFORE INSERT OR UPDATE ON coin_accounts
    FOR EACH ROW EXECUTE FUNCTION coin_account_guard();

-- Moves the balances of users with the entries and refuses accounts that are
-- suspended.
-- +goose StatementBegin
CREATE FUNCTION coin_move() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    closed text;
BEGIN
    UPDATE coin_accounts a SET balance_cents = a.balance_cents + d.delta
    FROM (SELECT account_key, sum(CASE direction WHEN 'CREDIT' THEN amount_cents ELSE -amount_cents END)::bigint AS delta
          FROM added GROUP BY account_key) d
    WHERE a.account_key = d.account_key AND NOT a.is_system;
    SELECT a.account_key INTO closed FROM coin_accounts a JOIN added USING (account_key) WHERE a.status <> 'active' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the account % is suspended', closed USING ERRCODE = 'check_violation', CONSTRAINT = 'coin_accounts_active';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER coin_entries_move AFTER INSERT ON coin_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION coin_move();

-- Holds when the transaction commits: as many entries as the event says, and
-- debits equal to credits.
-- +goose StatementBegin
CREATE FUNCTION coin_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event  bigint;
    stated smallint;
    found_ smallint;
    total  numeric;
BEGIN
    IF TG_TABLE_NAME = 'coin_events' THEN event := NEW.id; ELSE event := NEW.event_id; END IF;
    SELECT entry_count INTO stated FROM coin_events WHERE id = event;
    SELECT count(*), sum(CASE direction WHEN 'CREDIT' THEN amount_cents ELSE -amount_cents END) INTO found_, total
    FROM coin_entries WHERE event_id = event;
    IF found_ <> stated OR total IS DISTINCT FROM 0 THEN
        RAISE EXCEPTION 'event % is not balanced: % of % entries, credits minus debits %', event, found_, stated, total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'coin_events_balanced';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER coin_events_balanced AFTER INSERT ON coin_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION coin_balanced();
CREATE CONSTRAINT TRIGGER coin_entries_balanced AFTER INSERT ON coin_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION coin_balanced();

-- What somebody may use, and until when.
CREATE TABLE coin_entitlements (
    user_id      bigint      NOT NULL REFERENCES users ON DELETE RESTRICT,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 32),
    active_until timestamptz,
    source       text        NOT NULL DEFAULT 'slc' CHECK (length(source) <= 32),
    meta         jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, key)
);
