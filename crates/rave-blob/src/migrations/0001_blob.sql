-- A pack is a file of chunks, one after the other. Its row is there before its first byte is.
CREATE TABLE blob_pack (
    id {id},
    name TEXT NOT NULL UNIQUE,
    -- 'open': may grow; 'sealed': never again; 'doomed': nothing refers to it, its file goes.
    state TEXT NOT NULL,
    -- What is in the file, dead chunks included. 0 while it is open.
    size_bytes BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX blob_pack_state ON blob_pack (state, changed_at);

-- A chunk: content that is stored once, wherever it occurs.
CREATE TABLE blob_chunk (
    id {id},
    -- BLAKE3 of the content.
    digest {blob} NOT NULL UNIQUE,
    pack_id BIGINT NOT NULL REFERENCES blob_pack (id),
    position BIGINT NOT NULL,
    -- The length of its frame in the pack, without the label that follows.
    stored_bytes BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    -- XXH3 of the frame.
    checksum BIGINT NOT NULL,
    -- Until then no sweep takes it away: an upload may have been promised it.
    keep_until BIGINT NOT NULL,
    damaged BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX blob_chunk_pack ON blob_chunk (pack_id, position);

-- An object: the chunks that make it up, in its manifest.
CREATE TABLE blob_object (
    -- SHA-256 of the whole.
    digest {blob} NOT NULL PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    -- The sum of its chunks' frames, shared ones included.
    stored_bytes BIGINT NOT NULL,
    manifest {blob} NOT NULL,
    put_at BIGINT NOT NULL,
    damaged BIGINT NOT NULL DEFAULT 0
);
