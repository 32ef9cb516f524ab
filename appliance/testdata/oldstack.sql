-- The tables of the old backend that are imported, as its framework makes them.
CREATE TABLE users_user (
    id bigint PRIMARY KEY,
    password varchar(128) NOT NULL,
    last_login timestamptz,
    is_superuser boolean NOT NULL,
    email varchar(254) NOT NULL UNIQUE,
    handle varchar(30) NOT NULL UNIQUE,
    name varchar(120) NOT NULL,
    bio text NOT NULL,
    photo varchar(200) NOT NULL,
    birth_date date,
    birth_time time,
    birth_place varchar(255) NOT NULL,
    locale varchar(32) NOT NULL,
    flags jsonb NOT NULL,
    is_active boolean NOT NULL,
    is_staff boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE users_usersettings (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    privacy varchar(32) NOT NULL,
    dm_policy varchar(32) NOT NULL,
    language varchar(32) NOT NULL,
    quiet_hours jsonb NOT NULL,
    push_enabled boolean NOT NULL,
    email_enabled boolean NOT NULL,
    digest_enabled boolean NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE users_userpii (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    full_name varchar(255) NOT NULL,
    email varchar(254) NOT NULL,
    phone_number varchar(32) NOT NULL,
    birth_date date,
    birth_time time,
    birth_place varchar(255) NOT NULL,
    metadata jsonb NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE users_personalmapprofile (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    first_name varchar(120) NOT NULL,
    last_name varchar(120) NOT NULL,
    birth_date date NOT NULL,
    birth_time time,
    birth_place_country varchar(120) NOT NULL,
    birth_place_city varchar(120) NOT NULL,
    avatar_image varchar(100),
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE users_device (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    push_token varchar(255) NOT NULL,
    device_type varchar(32) NOT NULL,
    last_seen timestamptz NOT NULL,
    user_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (user_id, push_token)
);
CREATE TABLE users_block (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    target_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    user_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (user_id, target_id)
);
CREATE TABLE users_mute (LIKE users_block INCLUDING ALL);
CREATE TABLE social_follow (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    followee_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    follower_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (follower_id, followee_id)
);
CREATE TABLE profile_userprofile (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    gender varchar(32) NOT NULL,
    orientation varchar(32) NOT NULL,
    relationship_goal varchar(32) NOT NULL,
    values jsonb NOT NULL,
    preferred_lifestyle jsonb NOT NULL,
    attachment_style varchar(32) NOT NULL,
    love_language jsonb NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    birth_date date,
    birth_time time,
    birth_city varchar(128) NOT NULL,
    birth_country varchar(128) NOT NULL,
    birth_timezone varchar(64) NOT NULL,
    birth_latitude double precision,
    birth_longitude double precision
);
CREATE TABLE mentor_mentorsession (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    question text NOT NULL,
    answer text NOT NULL,
    sentiment varchar(32) NOT NULL,
    user_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED,
    active boolean NOT NULL,
    language varchar(8),
    mode varchar(32) NOT NULL,
    started_at timestamptz NOT NULL,
    date date,
    ended_at timestamptz,
    metadata jsonb NOT NULL
);
CREATE TABLE mentor_mentormessage (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    role varchar(16) NOT NULL,
    content text NOT NULL,
    meta jsonb,
    session_id bigint NOT NULL REFERENCES mentor_mentorsession DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX ON mentor_mentormessage (session_id);
CREATE TABLE mentor_mentorprofile (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    tone varchar(32) NOT NULL,
    level varchar(32) NOT NULL,
    preferences jsonb NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE mentor_dailytask (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    task varchar(255) NOT NULL,
    due_date date NOT NULL,
    status varchar(16) NOT NULL,
    user_id bigint NOT NULL REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE mentor_mentormemory (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    notes jsonb NOT NULL,
    last_summary text NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user DEFERRABLE INITIALLY DEFERRED
);
