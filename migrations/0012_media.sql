-- +goose Up

-- Files that are kept in the storage. A row is committed after its file is
-- durable, so there is never a row without a file; files without a row are
-- removed after a day. released_at says that nobody needs the file any more: it
-- and the row go two days later, so that a backup under way still finds it.
CREATE TABLE media_files (
    key         text        PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 512),
    owner_id    bigint      REFERENCES users ON DELETE SET NULL,
    mime        text        NOT NULL CHECK (length(mime) BETWEEN 1 AND 64),
    size        bigint      NOT NULL CHECK (size >= 0),
    sha256      text        NOT NULL CHECK (length(sha256) <= 64), -- '': put into the bucket by a client itself
    width       integer,
    height      integer,
    thumbnail   text        REFERENCES media_files (key),
    created_at  timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz
);

CREATE INDEX media_files_owner ON media_files (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX media_files_thumbnail ON media_files (thumbnail) WHERE thumbnail IS NOT NULL;
CREATE INDEX media_files_released ON media_files (released_at) WHERE released_at IS NOT NULL;

-- What people attach to posts (contract 14 §1). file_key is set for those that
-- were uploaded here; others describe a file somewhere else.
CREATE TABLE media_assets (
    id         bigint           PRIMARY KEY,
    owner_id   bigint           NOT NULL REFERENCES users ON DELETE CASCADE,
    s3_key     text             NOT NULL CHECK (length(s3_key) BETWEEN 1 AND 255),
    mime       text             NOT NULL CHECK (length(mime) BETWEEN 1 AND 64),
    width      integer          CHECK (width >= 0),
    height     integer          CHECK (height >= 0),
    duration   double precision,
    status     text             NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'ready', 'failed')),
    checksum   text             NOT NULL DEFAULT '' CHECK (length(checksum) <= 128),
    meta       jsonb            NOT NULL DEFAULT '{}',
    file_key   text             CONSTRAINT media_assets_file_key UNIQUE REFERENCES media_files (key),
    created_at timestamptz      NOT NULL,
    updated_at timestamptz      NOT NULL
);

CREATE INDEX media_assets_owner ON media_assets (owner_id, created_at, id);

-- However an asset goes, its file is released.
-- +goose StatementBegin
CREATE FUNCTION media_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE media_files SET released_at = now()
    WHERE released_at IS NULL
      AND (key = OLD.file_key OR key = (SELECT thumbnail FROM media_files WHERE key = OLD.file_key));
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER media_release AFTER DELETE ON media_assets
    FOR EACH ROW WHEN (OLD.file_key IS NOT NULL) EXECUTE FUNCTION media_release();

-- Uploads that clients were allowed to make into the bucket by themselves.
CREATE TABLE media_grants (
    key        text        PRIMARY KEY,
    owner_id   bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    mime       text        NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX media_grants_owner ON media_grants (owner_id);
CREATE INDEX media_grants_expires ON media_grants (expires_at);
