-- +goose Up

-- mentor_answer stores the answer to a question unless it has one, and gives
-- the id and text of the stored one; null when the question is gone. A text that
-- stands for an answer which the model failed gives way to a real one, as when an
-- operator runs a dead job again: then a third element says "replaced".
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION mentor_answer(
    p_id bigint, p_role text, p_content text, p_meta jsonb, p_task uuid, p_request bigint, p_version text
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    stored text[];
    kept   bigint;
BEGIN
    INSERT INTO mentor_messages (id, session_id, user_id, role, content, meta, task_id, request_id, task_version)
    SELECT p_id, q.session_id, q.user_id, p_role, p_content, p_meta, p_task, q.id, p_version
    FROM mentor_messages q WHERE q.id = p_request
    ON CONFLICT (request_id, task_version) WHERE request_id IS NOT NULL DO UPDATE
        SET role = excluded.role, content = excluded.content, meta = excluded.meta, updated_at = clock_timestamp()
        WHERE mentor_messages.meta->>'error' IS NOT NULL AND excluded.meta->>'error' IS NULL
    RETURNING id INTO kept;
    IF kept = p_id THEN
        RETURN ARRAY[p_id::text, p_content];
    ELSIF kept IS NOT NULL THEN
        RETURN ARRAY[kept::text, p_content, 'replaced'];
    END IF;
    SELECT ARRAY[a.id::text, a.content] INTO stored FROM mentor_messages a
    WHERE a.request_id = p_request AND a.task_version = p_version;
    RETURN stored;
END
$$;
-- +goose StatementEnd
