-- Questions and answers of chats, streams and background jobs. A line of
-- history is a message's role, a line feed, and its text; newest first.

-- Ask stores a question, see mentor_ask.
-- name: Ask :one
SELECT mentor_ask(
    @user_id::bigint, @mode::text, @language::text, @content::text, @session_id::bigint, @question_id::bigint,
    sqlc.narg(meta)::jsonb, sqlc.narg(task_id)::uuid, @fingerprint::bytea, @joinable_seconds::float8, @most::integer, @claim::boolean
)::text[] AS asked;

-- AskMany stores questions without a task as Ask does, in the order given. It
-- must be the same order of people, modes, languages and fingerprints in every
-- call: each question locks the session and the stream that it belongs to.
-- name: AskMany :many
SELECT i::integer AS nth, mentor_ask(
    (@user_ids::bigint[])[i], (@modes::text[])[i], (@languages::text[])[i], (@contents::text[])[i],
    (@session_ids::bigint[])[i], (@question_ids::bigint[])[i], NULL, NULL,
    (@fingerprints::bytea[])[i], @joinable_seconds::float8, @most::integer, (@claims::boolean[])[i]
)::text[] AS asked
FROM generate_subscripts(@user_ids::bigint[], 1) AS i;

-- Question gives what is needed to answer it again, and its answer if it has
-- one; failed says that this only stands for one which the model failed.
-- name: Question :one
SELECT q.id, q.session_id, q.user_id, q.content, q.task_id, s.mode, s.language,
    a.id AS answer_id, a.content AS answer, coalesce(a.meta->>'error' IS NOT NULL, false)::boolean AS failed,
    ARRAY(
        SELECT m.role || E'\n' || m.content FROM mentor_messages m
        WHERE m.session_id = q.session_id AND (m.created_at, m.id) < (q.created_at, q.id)
        ORDER BY m.created_at DESC, m.id DESC LIMIT @most
    )::text[] AS history
FROM mentor_messages q
JOIN mentor_sessions s ON s.id = q.session_id
LEFT JOIN mentor_messages a ON a.request_id = q.id AND a.task_version = @task_version::text
WHERE q.id = @id;

-- SetTask gives a question a task unless it has one.
-- name: SetTask :one
UPDATE mentor_messages SET
    task_id = coalesce(task_id, @task_id::uuid),
    meta = CASE WHEN task_id IS NULL THEN @meta::jsonb ELSE meta END,
    updated_at = clock_timestamp()
WHERE id = @id RETURNING task_id;

-- StoreAnswer stores an answer, see mentor_answer.
-- name: StoreAnswer :one
SELECT coalesce(mentor_answer(
    @id::bigint, @role::text, @content::text, sqlc.narg(meta)::jsonb, sqlc.narg(task_id)::uuid, @request_id::bigint, @task_version::text
), '{}')::text[] AS stored;

-- StoreStreamed stores the answers to questions of streams, see mentor_answer,
-- and lets the moment in which each can be joined begin with its answer. The
-- moments are locked in the order of AskMany.
-- name: StoreStreamed :many
WITH given AS (
    SELECT i, user_id, (@fingerprints::bytea[])[i] AS fingerprint, (@request_ids::bigint[])[i] AS request_id
    FROM unnest(@user_ids::bigint[]) WITH ORDINALITY AS u (user_id, i)
), locked AS (
    SELECT st.user_id, st.fingerprint FROM mentor_streams st
    JOIN given ON given.user_id = st.user_id AND given.fingerprint = st.fingerprint AND given.request_id = st.question_id
    ORDER BY st.user_id, st.fingerprint FOR UPDATE OF st
), touched AS (
    UPDATE mentor_streams st SET asked_at = clock_timestamp()
    FROM locked WHERE st.user_id = locked.user_id AND st.fingerprint = locked.fingerprint
)
SELECT given.i::integer AS nth, coalesce(mentor_answer(
    (@ids::bigint[])[given.i], @role::text, (@contents::text[])[given.i], NULL, NULL, given.request_id, @task_version::text
), '{}')::text[] AS stored
FROM given;

-- name: Answer :one
SELECT a.id, a.content FROM mentor_messages a
WHERE a.request_id = @request_id::bigint AND a.task_version = @task_version::text;

-- TaskStatus finds the question of a task and, if there is one, its answer.
-- name: TaskStatus :one
SELECT s.id AS session_id, s.mode, s.date, s.metadata,
    a.id AS answer_id, a.role, a.content, a.meta, a.created_at AS answered_at
FROM mentor_messages q
JOIN mentor_sessions s ON s.id = q.session_id
LEFT JOIN mentor_messages a ON a.request_id = q.id
WHERE q.task_id = @task_id::uuid AND q.user_id = @user_id AND q.role = 'user'
ORDER BY q.id DESC, a.id DESC NULLS LAST LIMIT 1;

-- The journal.

-- AskJournal finds or opens the journal of a day, stores an entry, and gives
-- the last messages before it: of the day, and for a new day of the days
-- before.
-- name: AskJournal :one
WITH opened AS (
    INSERT INTO mentor_sessions (id, user_id, mode, language, origin, date, question)
    VALUES (@session_id, @user_id, 'daily', sqlc.narg(language)::text, 'journal', @day::date, @content::text)
    ON CONFLICT (user_id, date) WHERE origin = 'journal' DO UPDATE SET updated_at = clock_timestamp()
    RETURNING id, (xmax = 0) AS fresh
), asked AS (
    INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta, task_id)
    SELECT @question_id::bigint, opened.id, @user_id::bigint, 'user', @content::text, sqlc.narg(meta)::jsonb, sqlc.narg(task_id)::uuid
    FROM opened RETURNING id
)
SELECT opened.id AS session_id,
    ARRAY(
        SELECT m.role || E'\n' || m.content FROM mentor_messages m
        WHERE m.session_id = opened.id
        ORDER BY m.created_at DESC, m.id DESC LIMIT @most
    )::text[] AS history,
    ARRAY(
        SELECT m.role || E'\n' || m.content FROM mentor_messages m
        WHERE opened.fresh AND m.session_id IN (
            SELECT j.id FROM mentor_sessions j
            WHERE j.user_id = @user_id AND j.origin = 'journal' ORDER BY j.date DESC LIMIT @most
        )
        ORDER BY m.created_at DESC, m.id DESC LIMIT @most
    )::text[] AS elsewhere
FROM opened;

-- JournalBefore gives the last messages before an entry, as AskJournal does.
-- name: JournalBefore :many
SELECT (m.role || E'\n' || m.content)::text AS line FROM mentor_messages q
JOIN mentor_messages m ON (m.created_at, m.id) < (q.created_at, q.id)
WHERE q.id = @question_id AND m.session_id IN (
    SELECT j.id FROM mentor_sessions j
    WHERE j.user_id = q.user_id AND j.origin = 'journal' ORDER BY j.date DESC LIMIT @most
)
ORDER BY m.created_at DESC, m.id DESC LIMIT @most;

-- StoreReflection shows an entry and its answer as the day's, when the answer
-- was stored.
-- name: StoreReflection :exec
UPDATE mentor_sessions SET question = @question, answer = @answer, language = sqlc.narg(language)::text, updated_at = clock_timestamp()
WHERE id = @id;

-- name: Journals :many
SELECT id, date, left(question, 120)::text AS entry, left(answer, 120)::text AS reply FROM mentor_sessions
WHERE user_id = @user_id AND origin = 'journal' ORDER BY date DESC LIMIT @most;

-- name: Journal :one
SELECT id, date, language, question, answer FROM mentor_sessions
WHERE id = @id AND user_id = @user_id AND mode = 'daily';

-- name: JournalMessages :many
SELECT id, role, content, created_at FROM mentor_messages
WHERE session_id = @session_id ORDER BY created_at, id;

-- Sessions asked at once, and the memory that they leave.

-- name: OpenAsked :one
INSERT INTO mentor_sessions (id, user_id, mode, language, origin, question, sentiment)
VALUES (@id, @user_id, 'daily_mentor', 'en', 'ask', @question, @sentiment)
RETURNING created_at;

-- name: AnswerAsked :exec
UPDATE mentor_sessions SET answer = @answer, updated_at = clock_timestamp() WHERE id = @id;

-- name: Memory :one
SELECT notes, last_summary FROM mentor_memories WHERE user_id = @user_id;

-- LockMemory makes a memory if there is none and keeps others from it.
-- name: LockMemory :one
INSERT INTO mentor_memories (user_id) VALUES (@user_id)
ON CONFLICT (user_id) DO UPDATE SET updated_at = mentor_memories.updated_at
RETURNING notes;

-- name: StoreMemory :exec
UPDATE mentor_memories SET notes = @notes, last_summary = @last_summary, oldest_at = @oldest_at, updated_at = clock_timestamp()
WHERE user_id = @user_id;

-- name: Session :one
SELECT id, question, answer, sentiment, created_at FROM mentor_sessions WHERE id = @id AND user_id = @user_id;

-- name: SessionsDown :many
SELECT id, question, answer, sentiment, created_at FROM mentor_sessions
WHERE user_id = @user_id AND (created_at, id) < (@at::timestamptz, @after::bigint)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: SessionsUp :many
SELECT id, question, answer, sentiment, created_at FROM mentor_sessions
WHERE user_id = @user_id AND (created_at, id) > (@at::timestamptz, @after::bigint)
ORDER BY created_at, id LIMIT @most;

-- name: MessagesDown :many
SELECT id, session_id, role, content, meta, created_at FROM mentor_messages
WHERE user_id = @user_id AND (created_at, id) < (@at::timestamptz, @after::bigint)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: MessagesUp :many
SELECT id, session_id, role, content, meta, created_at FROM mentor_messages
WHERE user_id = @user_id AND (created_at, id) > (@at::timestamptz, @after::bigint)
ORDER BY created_at, id LIMIT @most;

-- Tasks.

-- name: AddTask :one
INSERT INTO mentor_tasks (id, user_id, task, due_date, status) VALUES (@id, @user_id, @task, @due_date, @status)
RETURNING id, task, due_date, status, created_at, updated_at;

-- name: Task :one
SELECT id, task, due_date, status, created_at, updated_at FROM mentor_tasks WHERE id = @id AND user_id = @user_id;

-- A suggestion that is moved to another day is no longer that day's.
-- name: ChangeTask :one
UPDATE mentor_tasks SET
    task = coalesce(sqlc.narg(task)::text, task),
    due_date = coalesce(sqlc.narg(due_date)::date, due_date),
    status = coalesce(sqlc.narg(status)::text, status),
    suggested = suggested AND coalesce(sqlc.narg(due_date)::date = due_date, true),
    updated_at = clock_timestamp()
WHERE id = @id AND user_id = @user_id
RETURNING id, task, due_date, status, created_at, updated_at;

-- name: DeleteTask :execrows
DELETE FROM mentor_tasks WHERE id = @id AND user_id = @user_id;

-- name: TaskOfDay :one
SELECT id, task, due_date, status, created_at, updated_at FROM mentor_tasks
WHERE user_id = @user_id AND due_date = @day::date ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: SuggestTask :one
INSERT INTO mentor_tasks (id, user_id, task, due_date, suggested) VALUES (@id, @user_id, @task, @day::date, true)
ON CONFLICT (user_id, due_date) WHERE suggested DO UPDATE SET suggested = true
RETURNING id, task, due_date, status, created_at, updated_at;

-- name: TasksDown :many
SELECT id, task, due_date, status, created_at, updated_at FROM mentor_tasks
WHERE user_id = @user_id AND (created_at, id) < (@at::timestamptz, @after::bigint)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: TasksUp :many
SELECT id, task, due_date, status, created_at, updated_at FROM mentor_tasks
WHERE user_id = @user_id AND (created_at, id) > (@at::timestamptz, @after::bigint)
ORDER BY created_at, id LIMIT @most;

-- Profiles.

-- name: Profile :one
SELECT id, tone, level, preferences, created_at FROM mentor_profiles WHERE user_id = @user_id;

-- name: SetProfile :one
INSERT INTO mentor_profiles (id, user_id, tone, level, preferences)
VALUES (@id, @user_id, coalesce(sqlc.narg(tone)::text, 'gentle'), coalesce(sqlc.narg(level)::text, 'basic'), coalesce(sqlc.narg(preferences)::jsonb, '{}'))
ON CONFLICT (user_id) DO UPDATE SET
    tone = coalesce(sqlc.narg(tone)::text, mentor_profiles.tone),
    level = coalesce(sqlc.narg(level)::text, mentor_profiles.level),
    preferences = coalesce(sqlc.narg(preferences)::jsonb, mentor_profiles.preferences),
    updated_at = clock_timestamp()
RETURNING id, tone, level, preferences;

-- name: ChangeProfile :one
UPDATE mentor_profiles SET
    tone = coalesce(sqlc.narg(tone)::text, tone),
    level = coalesce(sqlc.narg(level)::text, level),
    preferences = coalesce(sqlc.narg(preferences)::jsonb, preferences),
    updated_at = clock_timestamp()
WHERE id = @id AND user_id = @user_id
RETURNING id, tone, level, preferences;

-- name: DeleteProfile :execrows
DELETE FROM mentor_profiles WHERE id = @id AND user_id = @user_id;

-- Retention. Each statement deletes a batch and adds it to the day's count.

-- name: PurgeMessages :one
WITH gone AS (
    DELETE FROM mentor_messages WHERE id IN (
        SELECT m.id FROM mentor_messages m WHERE m.created_at < @before::timestamptz LIMIT @most
    ) RETURNING id
), counted AS (
    INSERT INTO mentor_purges AS p (day, messages, sessions)
    SELECT current_date, count(*), 0 FROM gone HAVING count(*) > 0
    ON CONFLICT (day) DO UPDATE SET messages = p.messages + excluded.messages
)
SELECT count(*) FROM gone;

-- A session whose last message is gone goes too. One that gets a message at
-- this moment is locked by it and skipped.
-- name: PurgeSessions :one
WITH gone AS (
    DELETE FROM mentor_sessions WHERE id IN (
        SELECT s.id FROM mentor_sessions s
        WHERE s.updated_at < @before::timestamptz
          AND NOT EXISTS (SELECT FROM mentor_messages m WHERE m.session_id = s.id)
        LIMIT @most FOR UPDATE SKIP LOCKED
    ) RETURNING id
), counted AS (
    INSERT INTO mentor_purges AS p (day, messages, sessions)
    SELECT current_date, 0, count(*) FROM gone HAVING count(*) > 0
    ON CONFLICT (day) DO UPDATE SET sessions = p.sessions + excluded.sessions
)
SELECT count(*) FROM gone;

-- name: PurgeStreams :exec
DELETE FROM mentor_streams WHERE asked_at < clock_timestamp() - interval '1 hour';

-- name: OldMemories :many
SELECT user_id, notes FROM mentor_memories WHERE oldest_at < @before::timestamptz
ORDER BY oldest_at LIMIT @most FOR UPDATE SKIP LOCKED;

-- name: DeleteMemory :exec
DELETE FROM mentor_memories WHERE user_id = @user_id;

-- Everything of one user.

-- name: ForgetMessages :exec
DELETE FROM mentor_messages WHERE user_id = @user_id;

-- name: ForgetSessions :exec
DELETE FROM mentor_sessions WHERE user_id = @user_id;

-- name: ForgetStreams :exec
DELETE FROM mentor_streams WHERE user_id = @user_id;

-- name: ForgetTasks :exec
DELETE FROM mentor_tasks WHERE user_id = @user_id;

-- name: ForgetProfile :exec
DELETE FROM mentor_profiles WHERE user_id = @user_id;
