-- +goose Up

-- Search for people. What is searched lies beside the accounts, in a table of
-- its own that triggers keep up to date in the transaction that changes an
-- account, whoever changes it: a service, a command, an operator's SQL or a
-- takeover of old data. A generated column would have had to be immutable,
-- which unaccent is not, would have widened the row whose counters change all
-- the time, and would have kept closed accounts in the index.

-- search_setup brings in what this server has of unaccent and pg_trgm. Both
-- may come later: "selflink search reindex" runs it again. Without unaccent
-- accents count; without pg_trgm there is no forgiveness of typing errors and
-- a rare text is found by reading the whole table.
-- +goose StatementBegin
CREATE FUNCTION search_setup() RETURNS void LANGUAGE plpgsql AS $setup$
DECLARE
    plain text := 'original';
BEGIN
    BEGIN
        CREATE EXTENSION IF NOT EXISTS unaccent;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file OR undefined_object THEN
        RAISE NOTICE 'unaccent is not available: accents count in searches';
    END;
    BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file OR undefined_object THEN
        RAISE NOTICE 'pg_trgm is not available: searches do not forgive typing errors, and rare texts take longer';
    END;
    IF current_setting('server_encoding') = 'UTF8' THEN
        plain := 'normalize(' || plain || ', NFKC)';
    END IF;
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'unaccent') THEN
        plain := 'unaccent(' || plain || ')';
    END IF;
    EXECUTE 'CREATE OR REPLACE FUNCTION search_plain(original text) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS '
        || quote_literal('BEGIN RETURN ' || plain || '; END');
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm') THEN
        CREATE INDEX IF NOT EXISTS search_users_names_trgm ON search_users USING gin (names gin_trgm_ops) WITH (fastupdate = off);
        CREATE INDEX IF NOT EXISTS search_users_bio_trgm ON search_users USING gin (bio gin_trgm_ops) WITH (fastupdate = off);
    END IF;
END
$setup$;
-- +goose StatementEnd

-- search_fold makes of any text what is compared: without accents and case, and
-- Georgian and Cyrillic letters in Latin ones, so that "giorgi" finds its
-- Georgian spelling, and that words and trigrams are found whatever the locale
-- of the database, some of which know ASCII letters alone. Many spellings
-- become one; what is compared is always folded on both sides. Control
-- characters become spaces, so a line feed can separate folded texts.
-- +goose StatementBegin
CREATE FUNCTION search_fold(original text) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    folded text;
BEGIN
    -- Capitals are named too: not every lower() knows them. What becomes
    -- several letters takes the place of a control character meanwhile.
    folded := translate(lower(search_plain(original)),
        E'აᲐბᲑგᲒდᲓეᲔვᲕზᲖთᲗიᲘკᲙლᲚმᲛნᲜოᲝპᲞრᲠსᲡტᲢუᲣფᲤქᲥყᲧჯᲯჰᲰаАбБвВгГдДеЕёЁзЗиИйЙкКлЛмМнНоОпПрРсСтТуУфФыЫэЭіІїЇєЄґҐჟᲟжЖღᲦშᲨшШჩᲩჭᲭчЧცᲪწᲬцЦძᲫხᲮхХщЩюЮяЯ\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7fъьЪЬ',
        E'aabbggddeevvzzttiikkllmmnnoopprrssttuuppkkqqjjhhaabbvvggddeeeezziiyykkllmmnnoopprrssttuuffyyeeiiiieegg\x01\x01\x01\x01\x02\x02\x03\x03\x03\x03\x04\x04\x04\x04\x04\x04\x05\x05\x05\x05\x05\x05\x06\x06\x07\x07\x07\x07\x08\x08\x09\x09\x0a\x0a                                ');
    folded := replace(folded, E'\x01', 'zh');
    folded := replace(folded, E'\x02', 'gh');
    folded := replace(folded, E'\x03', 'sh');
    folded := replace(folded, E'\x04', 'ch');
    folded := replace(folded, E'\x05', 'ts');
    folded := replace(folded, E'\x06', 'dz');
    folded := replace(folded, E'\x07', 'kh');
    folded := replace(folded, E'\x08', 'shch');
    folded := replace(folded, E'\x09', 'yu');
    folded := replace(folded, E'\x0a', 'ya');
    RETURN btrim(regexp_replace(folded, '\s+', ' ', 'g'));
END
$$;
-- +goose StatementEnd

-- search_words splits folded text into the words that a tsvector holds; its
-- parser would take "a_b", "a.b" and "a-b" for one thing or another.
-- +goose StatementBegin
CREATE FUNCTION search_words(folded text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT translate(folded, E'\n!"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~', repeat(' ', 33))
$$;
-- +goose StatementEnd

CREATE TABLE search_users (
    user_id    bigint      PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL, -- of the account: the order of what is found
    names      text        NOT NULL, -- handle and name, folded, a line each
    bio        text        NOT NULL, -- its first 2000 characters, folded
    words      tsvector    NOT NULL  -- of all of it
);

CREATE INDEX search_users_newest ON search_users (created_at, user_id);
-- Without a list of pending entries, which every search would have to read:
-- accounts change seldom, and are searched all the time.
CREATE INDEX search_users_words ON search_users USING gin (words) WITH (fastupdate = off);

-- search_users_put writes the row of an account that is open.
-- +goose StatementBegin
CREATE FUNCTION search_users_put(u users) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    folded_names text := search_fold(u.handle) || E'\n' || search_fold(u.name);
    folded_bio   text := search_fold(left(u.bio, 2000));
BEGIN
    INSERT INTO search_users (user_id, created_at, names, bio, words)
    VALUES (u.id, u.created_at, folded_names, folded_bio, to_tsvector('simple', search_words(folded_names || E'\n' || folded_bio)))
    ON CONFLICT (user_id) DO UPDATE SET
        created_at = excluded.created_at, names = excluded.names, bio = excluded.bio, words = excluded.words;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION search_users_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.is_active THEN
        PERFORM search_users_put(NEW);
    ELSE
        DELETE FROM search_users WHERE user_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

SELECT search_setup();

-- +goose StatementBegin
DO $$ BEGIN PERFORM search_users_put(u) FROM users u WHERE u.is_active; END $$;
-- +goose StatementEnd

CREATE TRIGGER search_users_new AFTER INSERT ON users FOR EACH ROW
    EXECUTE FUNCTION search_users_follow();
-- Counters and sign-ins change accounts all the time and nothing here.
CREATE TRIGGER search_users_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.handle, OLD.name, OLD.bio, OLD.is_active, OLD.created_at) IS DISTINCT FROM (NEW.handle, NEW.name, NEW.bio, NEW.is_active, NEW.created_at))
    EXECUTE FUNCTION search_users_follow();

-- How far the building of an index of the search server is. It goes on from
-- there when it was interrupted.
CREATE TABLE search_rebuilds (
    name       text        PRIMARY KEY, -- of what is indexed: users
    index_name text        NOT NULL,
    position   bigint      NOT NULL,    -- the id up to which all is in it
    done       bigint      NOT NULL,    -- documents so far
    total      bigint      NOT NULL,    -- rows when it began
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
