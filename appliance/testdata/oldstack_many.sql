-- @users people with all that they have, five messages each. Ids are as long as
-- real ones; texts are of several alphabets.
INSERT INTO users_user
SELECT 360000000000000000 + i * 4194304::bigint, 'pbkdf2_sha256$1000$salt' || i || '$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    CASE WHEN i % 50 = 0 THEN moment END, false, 'Person.' || i || '@Example.com', 'person_' || i,
    (ARRAY['Ana Lee', 'გიორგი', 'Мария', 'José 🙂', ''])[1 + i % 5], repeat('Bio ' || i || E'\n“”\t', i % 7),
    CASE WHEN i % 10 = 0 THEN 'https://example.com/' || i || '.png' ELSE '' END,
    CASE WHEN i % 3 = 0 THEN date '1970-01-01' + i END, CASE WHEN i % 4 = 0 THEN time '00:00' + i * interval '1 second 1 microsecond' END,
    CASE WHEN i % 2 = 0 THEN 'Tbilisi, Georgia' ELSE '' END, 'en-US', jsonb_build_object('n', i, 'z', 1.50, 'a', '"' || i || '"'),
    i % 97 <> 0, false, moment, moment + interval '1 day'
FROM (SELECT i, timestamptz '2025-01-01 00:00:00.000001+00' + i * interval '13 minutes 7 microseconds' AS moment FROM generate_series(1, @users) i) s;
INSERT INTO users_usersettings SELECT id + 1, created_at, created_at, (ARRAY['public', 'private'])[1 + n % 2], 'everyone', (ARRAY['en', 'ka', 'ru'])[1 + n % 3],
    CASE WHEN n % 5 = 0 THEN '{"start":"22:00","end":"07:00"}' ELSE '{}' END::jsonb, n % 4 <> 0, n % 6 <> 0, n % 8 = 0, id
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM users_user) u;
INSERT INTO users_userpii SELECT id + 2, created_at, created_at, name, email, CASE WHEN id % 3 = 0 THEN '+99555' ELSE '' END, birth_date, birth_time, birth_place, '{}', id FROM users_user;
INSERT INTO users_personalmapprofile SELECT id + 3, created_at, updated_at, 'Ana', 'Lee', date '1990-05-01', birth_time, 'Georgia', 'Tbilisi', NULL, id FROM users_user WHERE is_active AND birth_date IS NOT NULL;
INSERT INTO profile_userprofile SELECT id + 4, created_at, updated_at, '', '', 'unsure', CASE WHEN birth_date IS NULL THEN '[]' ELSE '["honesty", "humour"]' END::jsonb, '[]', '', '[]', id, NULL, NULL, '', '', '',
    CASE WHEN birth_date IS NOT NULL THEN 41.7 + 1 / 3.0 END, NULL FROM users_user;
INSERT INTO users_device SELECT id + 5, created_at, created_at, 'token ' || id, 'ios', updated_at, id FROM users_user WHERE is_active;
INSERT INTO social_follow SELECT a.id + k, a.created_at, a.created_at, b.id, a.id
FROM (SELECT id, created_at, row_number() OVER (ORDER BY id) AS n FROM users_user) a, generate_series(1, 2) k,
    LATERAL (SELECT id FROM users_user ORDER BY id OFFSET (a.n * 7 + k) % 100 LIMIT 1) b WHERE a.id <> b.id;
INSERT INTO users_block SELECT a.id, created_at, created_at, a.id - 4194304, a.id FROM users_user a WHERE a.id % 5 = 0 AND a.id > 360000000000000000 + 4194304;
INSERT INTO users_mute SELECT * FROM users_block;
INSERT INTO mentor_mentorsession SELECT id + 6, created_at, updated_at, 'How?', 'So.', 'neutral', id, true, 'en', 'daily_mentor', created_at, NULL, NULL, '{}' FROM users_user;
INSERT INTO mentor_mentormessage SELECT s.id + 10 + k, s.created_at + k * interval '1 second', s.created_at + k * interval '1 second',
    CASE WHEN k % 2 = 1 THEN 'user' ELSE 'assistant' END, repeat('Text ' || k || ' ტექსტი ', k * 3),
    CASE WHEN k % 2 = 0 THEN jsonb_build_object('task_id', md5(s.id::text || k)::uuid, 'request_id', s.id + 9 + k, 'task_version', 'v1') END, s.id
FROM mentor_mentorsession s, generate_series(1, 5) k;
INSERT INTO mentor_mentorprofile SELECT id + 7, created_at, updated_at, 'warm', 'deep', '{"likes": ["walks"]}', id FROM users_user WHERE id % 3 = 0;
INSERT INTO mentor_dailytask SELECT id + 8, created_at, updated_at, 'Breathe', current_date, 'completed', id FROM users_user WHERE id % 2 = 0;
INSERT INTO mentor_mentormemory SELECT id + 9, created_at, updated_at, '{"entries": [{"question": "Why?", "answer": "So.", "sentiment": "neutral", "timestamp": "2025-06-01T10:00:00+00:00"}]}', 'Lately.', id FROM users_user WHERE id % 7 = 0;
