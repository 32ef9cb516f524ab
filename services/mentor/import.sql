-- Rows of the old backend, see import.go.

-- name: ImportedSessions :many
SELECT id, user_id, mode, language, active, started_at, ended_at, metadata, question, answer, sentiment, date, created_at, updated_at
FROM mentor_sessions WHERE id = ANY(@ids::bigint[]);

-- name: ImportSessionIDs :many
SELECT id FROM mentor_sessions WHERE id = ANY(@ids::bigint[]);

-- A day has one journal here. A second one of the old backend stays a session.
-- The others go on as they did there: a chat continues the newest active one.
-- name: ImportSession :batchexec
INSERT INTO mentor_sessions (id, user_id, mode, language, origin, active, started_at, ended_at, metadata, question, answer, sentiment, date, created_at, updated_at)
SELECT @id, @user_id, @mode, sqlc.narg(language)::text,
    CASE WHEN @mode::text = 'daily' AND sqlc.narg(day)::date IS NOT NULL AND NOT EXISTS (
        SELECT FROM mentor_sessions j WHERE j.user_id = @user_id AND j.date = sqlc.narg(day)::date AND j.origin = 'journal'
    ) THEN 'journal' ELSE 'ask' END,
    @active, @started_at, sqlc.narg(ended_at)::timestamptz, @metadata, @question, @answer, @sentiment, sqlc.narg(day)::date, @created_at, @updated_at;

-- name: ReimportSession :batchexec
UPDATE mentor_sessions SET language = sqlc.narg(language)::text, active = @active, started_at = @started_at, ended_at = sqlc.narg(ended_at)::timestamptz,
    metadata = @metadata, question = @question, answer = @answer, sentiment = @sentiment, updated_at = @updated_at
WHERE id = @id;

-- name: ImportedMessages :many
SELECT id, session_id, role, content, meta, created_at, updated_at FROM mentor_messages WHERE id = ANY(@ids::bigint[]);

-- name: ImportOwners :many
SELECT id, user_id FROM mentor_sessions WHERE id = ANY(@ids::bigint[]);

-- name: ImportAnswered :many
SELECT request_id::bigint AS request_id, task_version::text AS task_version FROM mentor_messages WHERE request_id = ANY(@ids::bigint[]) AND task_version IS NOT NULL;

-- Plain, because it is planned anew for every row.
-- name: ImportMessage :batchexec
INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta, task_id, request_id, task_version, created_at, updated_at)
VALUES (@id, @session_id, @user_id, @role, @content, sqlc.narg(meta), sqlc.narg(task_id), sqlc.narg(request_id), sqlc.narg(task_version), @created_at, @updated_at);

-- name: ReimportMessage :batchexec
UPDATE mentor_messages SET role = @role, content = @content, meta = sqlc.narg(meta)::jsonb, updated_at = @updated_at WHERE id = @id;

-- name: ImportedProfiles :many
SELECT user_id, tone, level, preferences, created_at, updated_at FROM mentor_profiles WHERE user_id = ANY(@users::bigint[]);

-- name: ImportProfile :batchexec
INSERT INTO mentor_profiles (id, user_id, tone, level, preferences, created_at, updated_at)
VALUES (@id, @user_id, @tone, @level, @preferences, @created_at, @updated_at)
ON CONFLICT (user_id) DO UPDATE SET tone = excluded.tone, level = excluded.level, preferences = excluded.preferences,
    created_at = excluded.created_at, updated_at = excluded.updated_at;

-- name: ImportedTasks :many
SELECT id, user_id, task, due_date, status, created_at, updated_at FROM mentor_tasks WHERE id = ANY(@ids::bigint[]);

-- name: ImportTask :batchexec
INSERT INTO mentor_tasks (id, user_id, task, due_date, status, created_at, updated_at)
VALUES (@id, @user_id, @task, @due_date, @status, @created_at, @updated_at);

-- name: ReimportTask :batchexec
UPDATE mentor_tasks SET task = @task, due_date = @due_date, status = @status, suggested = false, updated_at = @updated_at WHERE id = @id;

-- name: ImportedMemories :many
SELECT user_id, notes, last_summary, updated_at FROM mentor_memories WHERE user_id = ANY(@users::bigint[]);

-- name: ImportMemory :batchexec
INSERT INTO mentor_memories (user_id, notes, last_summary, oldest_at, updated_at)
VALUES (@user_id, @notes, @last_summary, @oldest_at, @updated_at)
ON CONFLICT (user_id) DO UPDATE SET notes = excluded.notes, last_summary = excluded.last_summary,
    oldest_at = excluded.oldest_at, updated_at = excluded.updated_at;
