-- +goose Up

-- What people with rights did, as a chain: each row's hash covers the one
-- before, so that no row can be changed, removed or slipped in unseen. There is
-- no reference to users: the trail outlives accounts.
CREATE TABLE audit_events (
    id          uuid        PRIMARY KEY,
    seq         bigint      NOT NULL CONSTRAINT audit_events_seq_key UNIQUE CHECK (seq > 0), -- its place in the chain
    created_at  timestamptz NOT NULL, -- later than that of the row before
    actor_user  bigint,
    actor_ip    text        CHECK (length(actor_ip) <= 45),
    action      text        NOT NULL CHECK (length(action) BETWEEN 1 AND 128),
    object_type text        NOT NULL CHECK (length(object_type) <= 128),
    object_id   text        NOT NULL CHECK (length(object_id) <= 128),
    metadata    json        NOT NULL, -- json, not jsonb: the hash covers this very text
    hash_prev   text        NOT NULL CHECK (hash_prev ~ '^([0-9a-f]{64})?$'),
    hash_self   text        NOT NULL CHECK (hash_self ~ '^[0-9a-f]{64}$')
);

CREATE INDEX audit_events_created ON audit_events (created_at, seq);
CREATE INDEX audit_events_action ON audit_events (action, seq);
CREATE INDEX audit_events_actor ON audit_events (actor_user, seq) WHERE actor_user IS NOT NULL;
CREATE INDEX audit_events_object ON audit_events (object_id, seq);

-- The end of the chain. Whoever adds a row holds the lock of this one until the
-- commit, so there is one chain however many write.
CREATE TABLE audit_head (
    single     boolean     PRIMARY KEY DEFAULT true CHECK (single),
    seq        bigint      NOT NULL,
    hash       text        NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO audit_head (seq, hash, created_at) VALUES (0, '', 'epoch');

-- +goose StatementBegin
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

-- For each statement, so that one that meets no row is refused too.
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Sessions of the dashboard have no refresh tokens and end at expires_at.
ALTER TABLE auth_sessions
    ADD COLUMN dashboard boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT auth_sessions_ended_why_check,
    ADD CONSTRAINT auth_sessions_ended_why_check
        CHECK (ended_why IN ('', 'logout', 'reuse', 'password', 'deactivated', 'operator', 'role'));

-- Sign-ins to the dashboard whose password was not right, or not known yet: the
-- last few moments by the hash of the address, of an account or of none.
CREATE TABLE dashboard_guesses (
    address bytea         PRIMARY KEY,
    at      timestamptz[] NOT NULL,
    last_at timestamptz   NOT NULL
);
CREATE INDEX dashboard_guesses_age ON dashboard_guesses (last_at);

-- Lists of the few among the many.
CREATE INDEX users_staff ON users (created_at, id) WHERE is_staff;
CREATE INDEX users_inactive ON users (created_at, id) WHERE NOT is_active;
