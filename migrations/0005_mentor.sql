-- +goose Up

-- Conversations. An account is named by its id only: the mentor keeps its own
-- rows and deletes them when told that an account is gone.
CREATE TABLE mentor_sessions (
    id         bigint      PRIMARY KEY,
    user_id    bigint      NOT NULL,
    mode       text        NOT NULL DEFAULT 'daily_mentor' CHECK (length(mode) <= 32),
    language   text        DEFAULT 'en' CHECK (length(language) <= 8),
    -- How the session began: only chats are unique per mode and language, only
    -- journals per day.
    origin     text        NOT NULL CHECK (origin IN ('chat', 'ask', 'journal')),
    active     boolean     NOT NULL DEFAULT true,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    metadata   jsonb       NOT NULL DEFAULT '{}',
    question   text        NOT NULL DEFAULT '',
    answer     text        NOT NULL DEFAULT '',
    sentiment  text        NOT NULL DEFAULT '' CHECK (length(sentiment) <= 32),
    date       date,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The list of a user's sessions.
CREATE INDEX mentor_sessions_user ON mentor_sessions (user_id, created_at DESC, id DESC);
-- The session that a chat goes on with: the newest active one, but no journal.
CREATE INDEX mentor_sessions_current ON mentor_sessions (user_id, mode, language, started_at DESC, id DESC) WHERE active AND origin <> 'journal';
-- Two first questions at once open one session.
CREATE UNIQUE INDEX mentor_sessions_chat ON mentor_sessions (user_id, mode, language) WHERE active AND origin = 'chat';
-- A day has one journal; also the order of daily history.
CREATE UNIQUE INDEX mentor_sessions_journal ON mentor_sessions (user_id, date DESC) WHERE origin = 'journal';
-- Retention.
CREATE INDEX mentor_sessions_updated ON mentor_sessions USING brin (updated_at);

CREATE TABLE mentor_messages (
    id           bigint      PRIMARY KEY,
    session_id   bigint      NOT NULL REFERENCES mentor_sessions,
    user_id      bigint      NOT NULL, -- of the session, for lists without a join
    role         text        NOT NULL CHECK (role IN ('user', 'assistant', 'mentor')),
    content      text        NOT NULL,
    meta         jsonb,
    -- The background task that answers, or answered. It is in meta too, which
    -- clients read.
    task_id      uuid,
    -- The question that this message answers, and by which version of the task.
    request_id   bigint,
    task_version text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The last messages of a session, for prompts and for journals.
CREATE INDEX mentor_messages_session ON mentor_messages (session_id, created_at DESC, id DESC);
-- A user's history.
CREATE INDEX mentor_messages_user ON mentor_messages (user_id, created_at DESC, id DESC);
-- A question is answered at most once.
CREATE UNIQUE INDEX mentor_messages_answer ON mentor_messages (request_id, task_version) WHERE request_id IS NOT NULL;
CREATE INDEX mentor_messages_task ON mentor_messages (task_id) WHERE task_id IS NOT NULL;
-- Retention.
CREATE INDEX mentor_messages_created ON mentor_messages USING brin (created_at);

-- Questions asked through a stream, by user, mode, language and text: asking
-- the same again within a minute joins the same answer. The rows are a memory
-- of minutes.
CREATE TABLE mentor_streams (
    user_id     bigint      NOT NULL,
    fingerprint bytea       NOT NULL,
    question_id bigint      NOT NULL,
    session_id  bigint      NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, fingerprint)
);

CREATE INDEX mentor_streams_asked ON mentor_streams (asked_at);

CREATE TABLE mentor_tasks (
    id         bigint      PRIMARY KEY,
    user_id    bigint      NOT NULL,
    task       text        NOT NULL CHECK (length(task) <= 255),
    due_date   date        NOT NULL,
    status     text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'skipped')),
    -- Made for its day because there was none.
    suggested  boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX mentor_tasks_user ON mentor_tasks (user_id, created_at DESC, id DESC);
CREATE INDEX mentor_tasks_due ON mentor_tasks (user_id, due_date, created_at DESC, id DESC);
-- Two looks at a new day make one suggestion.
CREATE UNIQUE INDEX mentor_tasks_suggested ON mentor_tasks (user_id, due_date) WHERE suggested;

CREATE TABLE mentor_profiles (
    id          bigint      PRIMARY KEY,
    user_id     bigint      NOT NULL CONSTRAINT mentor_profiles_user UNIQUE,
    tone        text        NOT NULL DEFAULT 'gentle' CHECK (length(tone) <= 32),
    level       text        NOT NULL DEFAULT 'basic' CHECK (length(level) <= 32),
    preferences jsonb       NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What the mentor remembers of the last questions.
CREATE TABLE mentor_memories (
    user_id      bigint      PRIMARY KEY,
    notes        jsonb       NOT NULL DEFAULT '{"entries": []}',
    last_summary text        NOT NULL DEFAULT '',
    oldest_at    timestamptz NOT NULL DEFAULT clock_timestamp(), -- of the oldest entry
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX mentor_memories_oldest ON mentor_memories (oldest_at);

-- What retention deleted, as counts: they name nobody.
CREATE TABLE mentor_purges (
    day      date   PRIMARY KEY,
    messages bigint NOT NULL,
    sessions bigint NOT NULL
);

-- The two statements of the hot path are functions: behind a pooler without
-- prepared statements Postgres would plan them anew each time, which takes
-- four times as long as running them. Inside a function it keeps the plans.

-- mentor_ask stores a question in the session it belongs to, which is opened
-- when there is none, and gives the ids of both and the last messages before
-- it, newest first, each a role, a line feed and a text. When a stream asked
-- the same within the last seconds, nothing is stored: that question's ids
-- come back alone. claim is true for streams, whose questions others join.
-- +goose StatementBegin
CREATE FUNCTION mentor_ask(
    p_user bigint, p_mode text, p_language text, p_content text, p_session bigint, p_question bigint,
    p_meta jsonb, p_task uuid, p_fingerprint bytea, p_seconds float8, p_most integer, p_claim boolean
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    since   timestamptz := clock_timestamp() - make_interval(secs => p_seconds);
    session bigint;
    joined  text[];
    history text[];
BEGIN
    IF NOT p_claim THEN
        SELECT ARRAY[st.question_id::text, st.session_id::text] INTO joined FROM mentor_streams st
        WHERE st.user_id = p_user AND st.fingerprint = p_fingerprint AND st.asked_at > since;
        IF FOUND THEN
            RETURN joined;
        END IF;
    END IF;
    SELECT s.id INTO session FROM mentor_sessions s
    WHERE s.user_id = p_user AND s.mode = p_mode AND s.language = p_language AND s.active AND s.origin <> 'journal'
    ORDER BY s.started_at DESC, s.id DESC LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO mentor_sessions (id, user_id, mode, language, origin)
        VALUES (p_session, p_user, p_mode, p_language, 'chat')
        ON CONFLICT (user_id, mode, language) WHERE active AND origin = 'chat' DO UPDATE SET updated_at = clock_timestamp()
        RETURNING id INTO session;
    END IF;
    IF p_claim THEN
        INSERT INTO mentor_streams AS st (user_id, fingerprint, question_id, session_id)
        VALUES (p_user, p_fingerprint, p_question, session)
        ON CONFLICT (user_id, fingerprint) DO UPDATE
            SET question_id = excluded.question_id, session_id = excluded.session_id, asked_at = clock_timestamp()
            WHERE st.asked_at <= since;
        IF NOT FOUND THEN
            SELECT ARRAY[st.question_id::text, st.session_id::text] INTO joined FROM mentor_streams st
            WHERE st.user_id = p_user AND st.fingerprint = p_fingerprint;
            RETURN joined;
        END IF;
    END IF;
    history := ARRAY(
        SELECT m.role || E'\n' || m.content FROM mentor_messages m
        WHERE m.session_id = session
        ORDER BY m.created_at DESC, m.id DESC LIMIT p_most
    );
    INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta, task_id)
    VALUES (p_question, session, p_user, 'user', p_content, p_meta, p_task);
    RETURN ARRAY[p_question::text, session::text] || history;
END
$$;
-- +goose StatementEnd

-- mentor_answer stores the answer to a question unless it has one, and gives
-- the id and text of the stored one; null when the question is gone.
-- +goose StatementBegin
CREATE FUNCTION mentor_answer(
    p_id bigint, p_role text, p_content text, p_meta jsonb, p_task uuid, p_request bigint, p_version text
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    stored text[];
BEGIN
    INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta, task_id, request_id, task_version)
    SELECT p_id, q.session_id, q.user_id, p_role, p_content, p_meta, p_task, q.id, p_version
    FROM mentor_messages q WHERE q.id = p_request
    ON CONFLICT (request_id, task_version) WHERE request_id IS NOT NULL DO NOTHING;
    IF FOUND THEN
        RETURN ARRAY[p_id::text, p_content];
    END IF;
    SELECT ARRAY[a.id::text, a.content] INTO stored FROM mentor_messages a
    WHERE a.request_id = p_request AND a.task_version = p_version;
    RETURN stored;
END
$$;
-- +goose StatementEnd
