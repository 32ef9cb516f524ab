-- Rows of the old backend, see import.go.

-- name: ImportedAccounts :many
SELECT id, email, handle, password, name, bio, photo, birth_date, birth_time, birth_place, locale, flags,
       is_active, is_staff, is_superuser, last_login, created_at, updated_at
FROM users WHERE id = ANY(@ids::bigint[]);

-- name: ImportIDs :many
SELECT id FROM users WHERE id = ANY(@ids::bigint[]);

-- name: ImportTaken :many
SELECT id, email_fold, handle FROM users WHERE email_fold = ANY(@folds::text[]) OR handle = ANY(@handles::text[]);

-- name: ImportAccount :batchexec
WITH who AS (
    INSERT INTO users (id, email, email_fold, handle, password, name, bio, photo, birth_date, birth_time, birth_place, locale, flags,
        is_active, is_staff, is_superuser, last_login, created_at, updated_at)
    VALUES (@id, @email, @email_fold, @handle, @password, @name, @bio, @photo, @birth_date, @birth_time, @birth_place, @locale, @flags,
        @is_active, @is_staff, @is_superuser, @last_login, @created_at, @updated_at)
    RETURNING id, email, name, birth_date, birth_time, birth_place, created_at
), settings AS (
    INSERT INTO user_settings (user_id) SELECT id FROM who
), pii AS (
    INSERT INTO user_pii (user_id, full_name, email, birth_date, birth_time, birth_place)
    SELECT id, name, email, birth_date, birth_time, birth_place FROM who
)
INSERT INTO profiles (user_id, created_at, updated_at) SELECT id, created_at, created_at FROM who;

-- name: ImportStates :many
SELECT id, password, is_active FROM users WHERE id = ANY(@ids::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: ReimportAccount :batchexec
WITH who AS (
    UPDATE users SET email = @email, email_fold = @email_fold, handle = @handle, password = @password, name = @name, bio = @bio, photo = @photo,
        birth_date = @birth_date, birth_time = @birth_time, birth_place = @birth_place, locale = @locale, flags = @flags,
        is_active = @is_active, is_staff = @is_staff, is_superuser = @is_superuser, last_login = @last_login,
        created_at = @created_at, updated_at = @updated_at
    WHERE id = @id
    RETURNING id, name, email, birth_date, birth_time, birth_place
)
UPDATE user_pii SET full_name = who.name, email = who.email, birth_date = who.birth_date, birth_time = who.birth_time, birth_place = who.birth_place
FROM who WHERE user_pii.user_id = who.id;

-- name: ImportedSettings :many
SELECT user_id, privacy, dm_policy, language, quiet_hours, push_enabled, email_enabled, digest_enabled
FROM user_settings WHERE user_id = ANY(@users::bigint[]);

-- name: ImportSettings :batchexec
INSERT INTO user_settings (user_id, privacy, dm_policy, language, quiet_hours, push_enabled, email_enabled, digest_enabled)
VALUES (@user_id, @privacy, @dm_policy, @language, @quiet_hours, @push_enabled, @email_enabled, @digest_enabled)
ON CONFLICT (user_id) DO UPDATE SET privacy = excluded.privacy, dm_policy = excluded.dm_policy, language = excluded.language,
    quiet_hours = excluded.quiet_hours, push_enabled = excluded.push_enabled, email_enabled = excluded.email_enabled, digest_enabled = excluded.digest_enabled;

-- name: ImportedDetails :many
SELECT user_id, phone_number, metadata FROM user_pii WHERE user_id = ANY(@users::bigint[]);

-- name: ImportDetails :batchexec
-- The rest of the mirror follows the account.
UPDATE user_pii SET phone_number = @phone_number, metadata = @metadata WHERE user_id = @user_id;

-- name: ImportedProfiles :many
SELECT user_id, gender, orientation, relationship_goal, "values", preferred_lifestyle, attachment_style, love_language,
       birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude, created_at, updated_at
FROM profiles WHERE user_id = ANY(@users::bigint[]);

-- name: ImportProfile :batchexec
INSERT INTO profiles (user_id, gender, orientation, relationship_goal, "values", preferred_lifestyle, attachment_style, love_language,
    birth_date, birth_time, birth_city, birth_country, birth_timezone, birth_latitude, birth_longitude, created_at, updated_at)
VALUES (@user_id, @gender, @orientation, @relationship_goal, @values_held, @preferred_lifestyle, @attachment_style, @love_language,
    @birth_date, @birth_time, @birth_city, @birth_country, @birth_timezone, @birth_latitude, @birth_longitude, @created_at, @updated_at)
ON CONFLICT (user_id) DO UPDATE SET
    gender = excluded.gender, orientation = excluded.orientation, relationship_goal = excluded.relationship_goal, "values" = excluded."values",
    preferred_lifestyle = excluded.preferred_lifestyle, attachment_style = excluded.attachment_style, love_language = excluded.love_language,
    birth_date = excluded.birth_date, birth_time = excluded.birth_time, birth_city = excluded.birth_city, birth_country = excluded.birth_country,
    birth_timezone = excluded.birth_timezone, birth_latitude = excluded.birth_latitude, birth_longitude = excluded.birth_longitude,
    created_at = excluded.created_at, updated_at = excluded.updated_at;

-- name: ImportedMaps :many
SELECT user_id, first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, avatar, created_at, updated_at
FROM personal_maps WHERE user_id = ANY(@users::bigint[]);

-- name: ImportMap :batchexec
INSERT INTO personal_maps (user_id, first_name, last_name, birth_date, birth_time, birth_place_country, birth_place_city, avatar, created_at, updated_at)
VALUES (@user_id, @first_name, @last_name, @birth_date, @birth_time, @birth_place_country, @birth_place_city, @avatar, @created_at, @updated_at)
ON CONFLICT (user_id) DO UPDATE SET
    first_name = excluded.first_name, last_name = excluded.last_name, birth_date = excluded.birth_date, birth_time = excluded.birth_time,
    birth_place_country = excluded.birth_place_country, birth_place_city = excluded.birth_place_city, avatar = excluded.avatar,
    created_at = excluded.created_at, updated_at = excluded.updated_at;

-- name: ImportedDevices :many
SELECT id, user_id, device_type, push_token, last_seen, created_at FROM devices WHERE id = ANY(@ids::bigint[]);

-- name: ImportTokens :many
SELECT id, push_token, last_seen FROM devices WHERE push_token = ANY(@tokens::text[]);

-- name: ImportDevice :batchexec
INSERT INTO devices (id, user_id, device_type, push_token, last_seen, created_at)
VALUES (@id, @user_id, @device_type, @push_token, @last_seen, @created_at)
ON CONFLICT (push_token) DO UPDATE SET id = excluded.id, user_id = excluded.user_id, device_type = excluded.device_type,
    last_seen = excluded.last_seen, created_at = excluded.created_at;

-- name: ReimportDevice :batchexec
UPDATE devices SET user_id = @user_id, device_type = @device_type, push_token = @push_token, last_seen = @last_seen, created_at = @created_at
WHERE id = @id;

-- name: ImportedFollows :many
SELECT f.follower_id, f.followee_id, f.created_at FROM generate_subscripts(@followers::bigint[], 1) AS i
JOIN follows f ON f.follower_id = (@followers::bigint[])[i] AND f.followee_id = (@followees::bigint[])[i];

-- name: ImportFollow :batchexec
INSERT INTO follows (follower_id, followee_id, created_at) VALUES (@follower_id, @followee_id, @created_at) ON CONFLICT DO NOTHING;

-- name: RecountFollows :exec
-- After LockPair on the same people.
UPDATE users SET
    followers_count = (SELECT count(*) FROM follows f WHERE f.followee_id = users.id),
    following_count = (SELECT count(*) FROM follows f WHERE f.follower_id = users.id)
WHERE id = ANY(@ids::bigint[]);

-- name: ImportedBlocks :many
SELECT b.user_id, b.target_id, b.created_at FROM generate_subscripts(@users::bigint[], 1) AS i
JOIN user_blocks b ON b.user_id = (@users::bigint[])[i] AND b.target_id = (@targets::bigint[])[i];

-- name: ImportBlock :batchexec
INSERT INTO user_blocks (user_id, target_id, created_at) VALUES (@user_id, @target_id, @created_at) ON CONFLICT DO NOTHING;

-- name: ImportedMutes :many
SELECT m.user_id, m.target_id, m.created_at FROM generate_subscripts(@users::bigint[], 1) AS i
JOIN user_mutes m ON m.user_id = (@users::bigint[])[i] AND m.target_id = (@targets::bigint[])[i];

-- name: ImportMute :batchexec
INSERT INTO user_mutes (user_id, target_id, created_at) VALUES (@user_id, @target_id, @created_at) ON CONFLICT DO NOTHING;
