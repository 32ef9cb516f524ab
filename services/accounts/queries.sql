-- name: InsertUser :exec
WITH who AS (
    INSERT INTO users (id, email, email_fold, handle, password, name, is_staff, is_superuser, created_at, updated_at)
    VALUES (@id, @email, @email_fold, @handle, @password, @name, @is_staff, @is_superuser, @created_at, @created_at)
    RETURNING id, email, name, created_at
), settings AS (
    INSERT INTO user_settings (user_id) SELECT id FROM who
), pii AS (
    INSERT INTO user_pii (user_id, full_name, email) SELECT id, name, email FROM who
)
INSERT INTO profiles (user_id, created_at, updated_at) SELECT id, created_at, created_at FROM who;

-- name: Accounts :many
SELECT u.id, u.email, u.handle, u.name, u.bio, u.photo, u.birth_date, u.birth_time, u.birth_place, u.locale, u.flags,
       u.is_active, u.is_staff, u.is_superuser, u.followers_count, u.following_count, u.posts_count, u.tokens_after, u.created_at, u.updated_at,
       s.privacy, s.dm_policy, s.language, s.quiet_hours, s.push_enabled, s.email_enabled, s.digest_enabled
FROM users u JOIN user_settings s ON s.user_id = u.id
WHERE u.id = ANY(@ids::bigint[]);

-- name: Credentials :one
-- The account that an address means: written exactly so, else whatever its case.
SELECT id, password, is_active, is_staff, tokens_after FROM users
WHERE email = @email OR email_fold = @email_fold
ORDER BY email = @email DESC LIMIT 1;

-- name: TakenEmail :one
SELECT EXISTS (SELECT 1 FROM users WHERE email = @email OR email_fold = @email_fold);

-- name: TakenHandles :many
SELECT handle FROM users WHERE handle = ANY(@handles::text[]);

-- name: UpgradePassword :exec
UPDATE users SET password = @password WHERE id = @id AND password = @old;

-- name: LockUser :one
SELECT name, bio, photo, birth_date, birth_time, birth_place, locale FROM users WHERE id = @id FOR NO KEY UPDATE;

-- name: UpdateUser :exec
WITH who AS (
    UPDATE users SET name = @name, bio = @bio, photo = @photo, birth_date = @birth_date, birth_time = @birth_time,
        birth_place = @birth_place, locale = @locale, updated_at = COALESCE(sqlc.narg(updated_at)::timestamptz, updated_at)
    WHERE id = @id
    RETURNING id, name, email, birth_date, birth_time, birth_place
)
UPDATE user_pii SET full_name = who.name, email = who.email, birth_date = who.birth_date, birth_time = who.birth_time, birth_place = who.birth_place
FROM who WHERE user_pii.user_id = who.id;

-- name: UpdateSettings :exec
UPDATE user_settings SET
    privacy = COALESCE(sqlc.narg(privacy), privacy), dm_policy = COALESCE(sqlc.narg(dm_policy), dm_policy),
    language = COALESCE(sqlc.narg(language), language), quiet_hours = COALESCE(sqlc.narg(quiet_hours)::jsonb, quiet_hours),
    push_enabled = COALESCE(sqlc.narg(push_enabled), push_enabled), email_enabled = COALESCE(sqlc.narg(email_enabled), email_enabled),
    digest_enabled = COALESCE(sqlc.narg(digest_enabled), digest_enabled)
WHERE user_id = @user_id;

-- name: FindUser :one
SELECT id FROM users
WHERE email = @email OR email_fold = @email_fold OR handle = @handle
ORDER BY email = @email DESC, email_fold = @email_fold DESC LIMIT 1;

-- name: AdminExists :one
SELECT EXISTS (SELECT 1 FROM users WHERE is_superuser AND is_active);

-- name: LockOperators :many
-- The active operators and one account more, in the order of ids as LockPair:
-- while they are held nobody else takes rights or closes one of them.
SELECT id, is_active, is_staff, is_superuser FROM users
WHERE (is_superuser AND is_staff AND is_active) OR id = @id
ORDER BY id FOR NO KEY UPDATE;

-- name: SetRole :exec
UPDATE users SET is_staff = @is_staff, is_superuser = @is_superuser, updated_at = @now WHERE id = @id;

-- name: Activate :exec
UPDATE users SET is_active = true, updated_at = @now WHERE id = @id;

-- name: VoidTokens :exec
UPDATE users SET tokens_after = @now::timestamptz WHERE id = @id;

-- name: SetPassword :execrows
UPDATE users SET password = @password, tokens_after = @now::timestamptz, updated_at = @now WHERE id = @id;

-- name: Deactivate :exec
UPDATE users SET is_active = false, tokens_after = @now::timestamptz, updated_at = @now WHERE id = @id;

-- name: InsertSession :execrows
-- Only while the account is as it was when its password was checked: whoever
-- resets the password or deactivates waits for this, or this for them.
WITH who AS (
    SELECT u.id FROM users u
    WHERE u.id = @user_id AND u.is_active AND u.tokens_after IS NOT DISTINCT FROM sqlc.narg(tokens_after)::timestamptz
    FOR SHARE
), family AS (
    INSERT INTO auth_sessions (id, user_id, created_at, expires_at)
    SELECT @id::uuid, who.id, @created_at::timestamptz, @expires_at::timestamptz FROM who
    RETURNING auth_sessions.id
)
INSERT INTO auth_refresh_tokens (jti, session_id, issued_at, expires_at)
SELECT @jti::uuid, family.id, @issued_at::timestamptz, @expires_at::timestamptz FROM family;

-- name: OpenDashboard :one
-- Only while the account is as it was when its password was checked.
WITH who AS (
    UPDATE users SET last_login = @created_at::timestamptz
    WHERE users.id = @user_id AND is_active AND is_staff AND tokens_after IS NOT DISTINCT FROM sqlc.narg(tokens_after)::timestamptz
    RETURNING users.id, email, name, is_staff, is_superuser
), family AS (
    INSERT INTO auth_sessions (id, user_id, created_at, expires_at, dashboard)
    SELECT @id::uuid, who.id, @created_at::timestamptz, @expires_at::timestamptz, true FROM who
)
SELECT email, name, is_staff, is_superuser FROM who;

-- name: TakeGuess :execrows
-- Counts a sign-in before its password is looked at; no row when there were
-- too many since.
INSERT INTO dashboard_guesses AS g (address, at, last_at) VALUES (@address, ARRAY[@now::timestamptz], @now::timestamptz)
ON CONFLICT (address) DO UPDATE SET
    at = array_append(ARRAY(SELECT t FROM unnest(g.at) t WHERE t > @since::timestamptz ORDER BY t), @now::timestamptz), last_at = @now::timestamptz
WHERE (SELECT count(*) FROM unnest(g.at) t WHERE t > @since::timestamptz) < @most::bigint;

-- name: OldestGuess :one
SELECT COALESCE((SELECT min(t) FROM dashboard_guesses g, unnest(g.at) t WHERE g.address = @address AND t > @since::timestamptz), @since)::timestamptz AS oldest;

-- name: ReturnGuess :exec
UPDATE dashboard_guesses SET at = array_remove(at, @taken::timestamptz) WHERE address = @address;

-- name: ForgetGuesses :exec
DELETE FROM dashboard_guesses WHERE address = @address;

-- name: ForgetGuessesOf :exec
DELETE FROM dashboard_guesses WHERE address = (SELECT sha256(convert_to(u.email_fold, 'UTF8')) FROM users u WHERE u.id = @id);

-- name: PruneGuesses :exec
DELETE FROM dashboard_guesses WHERE address IN
    (SELECT g.address FROM dashboard_guesses g WHERE g.last_at < @before ORDER BY g.last_at LIMIT 20 FOR UPDATE SKIP LOCKED);

-- name: AdoptSession :exec
INSERT INTO auth_sessions (id, user_id, created_at, expires_at) VALUES (@id, @user_id, @created_at, @expires_at);

-- name: AdoptToken :execrows
INSERT INTO auth_refresh_tokens (jti, session_id, issued_at, expires_at) VALUES (@jti, @session_id, @issued_at, @expires_at)
ON CONFLICT (jti) DO NOTHING;

-- name: DropSession :exec
DELETE FROM auth_sessions WHERE id = @id;

-- name: LockToken :one
SELECT t.session_id, t.issued_at, t.rotated_at, t.successor, t.access, s.user_id, s.ended_at, u.is_active, u.tokens_after
FROM auth_refresh_tokens t JOIN auth_sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.jti = @jti
FOR NO KEY UPDATE OF t, s;

-- name: UserState :one
-- Until the end of the transaction no password is reset and nobody deactivated.
SELECT is_active, tokens_after FROM users WHERE id = @id FOR SHARE;

-- name: Rotate :exec
UPDATE auth_refresh_tokens SET rotated_at = @now::timestamptz, successor = @successor::uuid, access = @access::uuid WHERE jti = @jti;

-- name: InsertToken :exec
INSERT INTO auth_refresh_tokens (jti, session_id, issued_at, expires_at) VALUES (@jti, @session_id, @issued_at, @expires_at);

-- name: ExtendSession :exec
UPDATE auth_sessions SET expires_at = GREATEST(expires_at, @expires_at) WHERE id = @id;

-- name: EndSession :one
UPDATE auth_sessions SET ended_at = @now::timestamptz, ended_why = @why WHERE id = @id AND ended_at IS NULL RETURNING user_id;

-- name: EndSessions :many
UPDATE auth_sessions SET ended_at = @now::timestamptz, ended_why = @why WHERE user_id = @user_id AND ended_at IS NULL RETURNING id;

-- name: EndDashboard :many
UPDATE auth_sessions SET ended_at = @now::timestamptz, ended_why = @why WHERE user_id = @user_id AND dashboard AND ended_at IS NULL RETURNING id;

-- name: LiveSessions :many
SELECT id, created_at, expires_at FROM auth_sessions
WHERE user_id = @user_id AND ended_at IS NULL AND expires_at > @now ORDER BY created_at DESC, id LIMIT @most;

-- name: CountDevices :one
SELECT count(*) FROM devices WHERE user_id = @user_id;

-- name: Names :many
SELECT id, COALESCE(NULLIF(name, ''), handle)::text AS name FROM users WHERE id = ANY(@ids::bigint[]);

-- name: LockAllUsers :exec
-- Nobody makes or changes an account until the end of the transaction.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

-- name: SessionStates :many
SELECT id, user_id, (ended_at IS NULL)::boolean AS live, dashboard, expires_at FROM auth_sessions WHERE id = ANY(@ids::uuid[]);

-- name: PruneSessions :execrows
DELETE FROM auth_sessions WHERE id IN (SELECT s.id FROM auth_sessions s WHERE s.expires_at < @before ORDER BY s.expires_at LIMIT 1000);

-- name: PruneTokens :execrows
DELETE FROM auth_refresh_tokens WHERE jti IN (SELECT t.jti FROM auth_refresh_tokens t WHERE t.expires_at < @before ORDER BY t.expires_at LIMIT 1000);

-- name: LockPair :many
-- Always in the order of ids, so that two people who follow each other at once
-- do not wait for each other.
SELECT id FROM users WHERE id = ANY(@ids::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: Follow :execrows
INSERT INTO follows (follower_id, followee_id, created_at) VALUES (@follower_id, @followee_id, @created_at) ON CONFLICT DO NOTHING;

-- name: Unfollow :execrows
DELETE FROM follows WHERE follower_id = @follower_id AND followee_id = @followee_id;

-- name: CountFollow :exec
UPDATE users SET
    followers_count = followers_count + CASE WHEN id = @followee_id THEN @step::int ELSE 0 END,
    following_count = following_count + CASE WHEN id = @follower_id THEN @step::int ELSE 0 END
WHERE id = @followee_id OR id = @follower_id;

-- name: Relation :one
SELECT EXISTS (SELECT 1 FROM user_blocks b WHERE b.user_id = @viewer AND b.target_id = @other) AS blocks,
       EXISTS (SELECT 1 FROM user_blocks b WHERE b.user_id = @other AND b.target_id = @viewer) AS blocked_by,
       EXISTS (SELECT 1 FROM user_mutes m WHERE m.user_id = @viewer AND m.target_id = @other) AS mutes;

-- name: UpsertDevice :one
INSERT INTO devices (id, user_id, device_type, push_token, last_seen, created_at)
VALUES (@id, @user_id, @device_type, @push_token, @now, @now)
ON CONFLICT (push_token) DO UPDATE SET
    device_type = excluded.device_type, last_seen = excluded.last_seen,
    id = CASE WHEN devices.user_id = excluded.user_id THEN devices.id ELSE excluded.id END,
    created_at = CASE WHEN devices.user_id = excluded.user_id THEN devices.created_at ELSE excluded.created_at END,
    user_id = excluded.user_id
RETURNING id, device_type, push_token, last_seen, created_at;

-- name: DevicesDown :many
SELECT id, device_type, push_token, last_seen, created_at FROM devices
WHERE user_id = @user_id AND (created_at, id) < (@at::timestamptz, @after::bigint)
ORDER BY created_at DESC, id DESC LIMIT @most;

-- name: DevicesUp :many
SELECT id, device_type, push_token, last_seen, created_at FROM devices
WHERE user_id = @user_id AND (created_at, id) > (@at::timestamptz, @after::bigint)
ORDER BY created_at, id LIMIT @most;

-- name: Device :one
SELECT id, device_type, push_token, last_seen, created_at FROM devices WHERE id = @id AND user_id = @user_id;

-- name: ReleaseToken :exec
DELETE FROM devices WHERE push_token = @push_token AND id <> @id;

-- name: LockDevice :one
SELECT device_type, push_token FROM devices WHERE id = @id AND user_id = @user_id FOR UPDATE;

-- name: UpdateDevice :one
UPDATE devices SET device_type = @device_type, push_token = @push_token, last_seen = @now
WHERE id = @id AND user_id = @user_id
RETURNING id, device_type, push_token, last_seen, created_at;

-- name: DeleteDevice :execrows
DELETE FROM devices WHERE id = @id AND user_id = @user_id;

-- name: PersonalMap :one
SELECT first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, avatar FROM personal_maps WHERE user_id = @user_id;

-- name: SavePersonalMap :exec
INSERT INTO personal_maps (user_id, first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, avatar, created_at, updated_at)
VALUES (@user_id, @first_name, @last_name, @birth_date, @birth_time, @birth_place_country, @birth_place_city, @avatar, @now, @now)
ON CONFLICT (user_id) DO UPDATE SET
    first_name = excluded.first_name, last_name = excluded.last_name, birth_date = excluded.birth_date, birth_time = excluded.birth_time,
    birth_place_country = excluded.birth_place_country, birth_place_city = excluded.birth_place_city, avatar = excluded.avatar, updated_at = excluded.updated_at;

-- name: Profile :one
SELECT gender, orientation, relationship_goal, "values", preferred_lifestyle, attachment_style, love_language,
       birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude
FROM profiles WHERE user_id = @user_id;

-- name: SaveProfile :exec
INSERT INTO profiles (user_id, gender, orientation, relationship_goal, "values", preferred_lifestyle, attachment_style, love_language,
    birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude, created_at, updated_at)
VALUES (@user_id, @gender, @orientation, @relationship_goal, @values_held, @preferred_lifestyle, @attachment_style, @love_language,
    @birth_date, @birth_time, @birth_city, @birth_country, @birth_timezone, @birth_latitude, @birth_longitude, @now, @now)
ON CONFLICT (user_id) DO UPDATE SET
    gender = excluded.gender, orientation = excluded.orientation, relationship_goal = excluded.relationship_goal, "values" = excluded."values",
    preferred_lifestyle = excluded.preferred_lifestyle, attachment_style = excluded.attachment_style, love_language = excluded.love_language,
    birth_date = excluded.birth_date, birth_time = excluded.birth_time, birth_city = excluded.birth_city, birth_country = excluded.birth_country,
    birth_timezone = excluded.birth_timezone, birth_latitude = excluded.birth_latitude, birth_longitude = excluded.birth_longitude,
    updated_at = excluded.updated_at;

-- name: Background :one
SELECT u.name, u.handle, u.bio, u.locale, s.language, u.birth_date, u.birth_time, u.birth_place,
       p.birth_date AS profile_date, p.birth_time AS profile_time, p.birth_city AS profile_city, p.birth_country AS profile_country,
       m.birth_date AS map_date, m.birth_time AS map_time, m.birth_place_city AS map_city, m.birth_place_country AS map_country
FROM users u JOIN user_settings s ON s.user_id = u.id
LEFT JOIN profiles p ON p.user_id = u.id
LEFT JOIN personal_maps m ON m.user_id = u.id
WHERE u.id = @id;
