-- +goose Up

-- Accounts. email_fold is the address in lower case and makes one account per
-- address, however it is written; email keeps the spelling it was given.
CREATE TABLE users (
    id              bigint      PRIMARY KEY,
    email           text        NOT NULL CONSTRAINT users_email_key UNIQUE CHECK (length(email) BETWEEN 1 AND 254),
    email_fold      text        NOT NULL CONSTRAINT users_email_fold_key UNIQUE,
    handle          text        NOT NULL CONSTRAINT users_handle_key UNIQUE CHECK (length(handle) BETWEEN 1 AND 30),
    password        text        NOT NULL,
    name            text        NOT NULL DEFAULT '' CHECK (length(name) <= 120),
    bio             text        NOT NULL DEFAULT '',
    photo           text        NOT NULL DEFAULT '' CHECK (length(photo) <= 200),
    birth_date      date,
    birth_time      time,
    birth_place     text        NOT NULL DEFAULT '' CHECK (length(birth_place) <= 255),
    locale          text        NOT NULL DEFAULT 'en-US' CHECK (length(locale) <= 32),
    flags           jsonb       NOT NULL DEFAULT '{}',
    is_active       boolean     NOT NULL DEFAULT true,
    is_staff        boolean     NOT NULL DEFAULT false,
    is_superuser    boolean     NOT NULL DEFAULT false,
    followers_count integer     NOT NULL DEFAULT 0 CHECK (followers_count >= 0),
    following_count integer     NOT NULL DEFAULT 0 CHECK (following_count >= 0),
    posts_count     integer     NOT NULL DEFAULT 0 CHECK (posts_count >= 0),
    last_login      timestamptz,
    -- Tokens issued up to this moment are void, also those of the old backend,
    -- which belong to no session.
    tokens_after    timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
) WITH (fillfactor = 85); -- room on the page for counters that change often

CREATE INDEX users_created ON users (created_at, id);
CREATE INDEX users_updated ON users (updated_at, id);
CREATE INDEX users_name ON users (name, id);
CREATE INDEX users_admins ON users (id) WHERE is_superuser;

-- Search inside handles, names and (for the staff) addresses. Where the
-- extension may not or cannot be installed, search walks the lists' indexes.
-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX users_handle_trgm ON users USING gin (handle gin_trgm_ops);
    CREATE INDEX users_name_trgm ON users USING gin (name gin_trgm_ops);
    CREATE INDEX users_email_trgm ON users USING gin (email gin_trgm_ops);
EXCEPTION
    WHEN insufficient_privilege OR feature_not_supported OR undefined_file OR undefined_object THEN
        RAISE NOTICE 'pg_trgm is not available: searching users will be slower';
END
$$;
-- +goose StatementEnd

CREATE TABLE user_settings (
    user_id        bigint  PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    privacy        text    NOT NULL DEFAULT 'public',
    dm_policy      text    NOT NULL DEFAULT 'everyone',
    language       text    NOT NULL DEFAULT 'en',
    quiet_hours    jsonb   NOT NULL DEFAULT '{}',
    push_enabled   boolean NOT NULL DEFAULT true,
    email_enabled  boolean NOT NULL DEFAULT true,
    digest_enabled boolean NOT NULL DEFAULT false
);

-- A mirror of what identifies a person, for administrators with the right to
-- see it. No API reads it.
CREATE TABLE user_pii (
    user_id      bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    full_name    text   NOT NULL DEFAULT '',
    email        text   NOT NULL DEFAULT '',
    phone_number text   NOT NULL DEFAULT '',
    birth_date   date,
    birth_time   time,
    birth_place  text   NOT NULL DEFAULT '',
    metadata     jsonb  NOT NULL DEFAULT '{}'
);

-- One sign-in on one device: the family of all refresh tokens that followed
-- from it.
CREATE TABLE auth_sessions (
    id         uuid        PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL, -- of its last refresh token
    ended_at   timestamptz,
    ended_why  text        NOT NULL DEFAULT '' CHECK (ended_why IN ('', 'logout', 'reuse', 'password', 'deactivated'))
);

CREATE INDEX auth_sessions_user ON auth_sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX auth_sessions_expiry ON auth_sessions (expires_at);

-- Refresh tokens by their jti, and what each was rotated into: enough to sign
-- the same successors again, no token itself.
CREATE TABLE auth_refresh_tokens (
    jti            uuid        PRIMARY KEY,
    session_id     uuid        NOT NULL REFERENCES auth_sessions ON DELETE CASCADE,
    issued_at      timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    rotated_at     timestamptz,
    successor      uuid, -- the jti of the next refresh token
    access         uuid, -- the jti of the access token that came with it
    CHECK ((rotated_at IS NULL) = (successor IS NULL) AND (successor IS NULL) = (access IS NULL))
);

CREATE INDEX auth_refresh_tokens_session ON auth_refresh_tokens (session_id);
CREATE INDEX auth_refresh_tokens_expiry ON auth_refresh_tokens (expires_at);

CREATE TABLE follows (
    follower_id bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (follower_id, followee_id),
    CHECK (follower_id <> followee_id)
);

CREATE INDEX follows_followers ON follows (followee_id, created_at, follower_id);
CREATE INDEX follows_following ON follows (follower_id, created_at, followee_id);

CREATE TABLE user_blocks (
    user_id    bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    target_id  bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, target_id),
    CHECK (user_id <> target_id)
);

CREATE INDEX user_blocks_target ON user_blocks (target_id);

CREATE TABLE user_mutes (
    user_id    bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    target_id  bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, target_id),
    CHECK (user_id <> target_id)
);

CREATE INDEX user_mutes_target ON user_mutes (target_id);

-- Where push messages go. A push token is of the account that registered it
-- last: two people may share a phone, not their messages.
CREATE TABLE devices (
    id          bigint      PRIMARY KEY,
    user_id     bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    device_type text        NOT NULL,
    push_token  text        NOT NULL CONSTRAINT devices_push_token_key UNIQUE,
    last_seen   timestamptz NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE INDEX devices_user ON devices (user_id, created_at, id);

-- The personal map: what a person fills in about themselves. A row may be a
-- draft with parts missing.
CREATE TABLE personal_maps (
    user_id             bigint      PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    first_name          text        NOT NULL DEFAULT '',
    last_name           text        NOT NULL DEFAULT '',
    birth_date          date,
    birth_time          time,
    birth_place_country text        NOT NULL DEFAULT '',
    birth_place_city    text        NOT NULL DEFAULT '',
    avatar              text        NOT NULL DEFAULT '', -- key in the file storage
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL
);

-- What matching knows of a person.
CREATE TABLE profiles (
    user_id             bigint      PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    gender              text        NOT NULL DEFAULT '',
    orientation         text        NOT NULL DEFAULT '',
    relationship_goal   text        NOT NULL DEFAULT 'unsure',
    "values"            text[]      NOT NULL DEFAULT '{}',
    preferred_lifestyle text[]      NOT NULL DEFAULT '{}',
    attachment_style    text        NOT NULL DEFAULT '',
    love_language       text[]      NOT NULL DEFAULT '{}',
    birth_date          date,
    birth_time          time,
    birth_city          text        NOT NULL DEFAULT '',
    birth_country       text        NOT NULL DEFAULT '',
    birth_timezone      text        NOT NULL DEFAULT '',
    birth_latitude      double precision,
    birth_longitude     double precision,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL
);
