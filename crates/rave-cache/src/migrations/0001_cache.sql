CREATE TABLE cache_cache (
    id {id},
    name TEXT NOT NULL UNIQUE,
    is_public BIGINT NOT NULL,
    store_dir TEXT NOT NULL,
    priority BIGINT NOT NULL,
    upstream_key_names TEXT NOT NULL,
    upstreams TEXT NOT NULL,
    trusted_keys TEXT NOT NULL,
    trusts_pushers BIGINT NOT NULL,
    retention_secs BIGINT,
    quota_bytes BIGINT,
    version BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    creator_id BIGINT,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);

CREATE TABLE cache_key (
    id {id},
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    public_key TEXT NOT NULL,
    sealed {blob} NOT NULL,
    is_primary BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (cache_id, public_key)
);

CREATE TABLE cache_attachment (
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    kind TEXT NOT NULL,
    target_id BIGINT NOT NULL,
    jobs_push BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cache_id, kind, target_id)
);
CREATE INDEX cache_attachment_target ON cache_attachment (kind, target_id);

CREATE TABLE cache_path (
    id {id},
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    hash_part TEXT NOT NULL,
    store_path TEXT NOT NULL,
    nar_digest TEXT NOT NULL,
    nar_size BIGINT NOT NULL,
    refs TEXT NOT NULL,
    deriver TEXT,
    ca TEXT,
    sigs TEXT NOT NULL,
    visible BIGINT NOT NULL,
    fetch_from TEXT,
    pushed_by TEXT NOT NULL,
    downloads BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_access_at BIGINT NOT NULL,
    UNIQUE (cache_id, hash_part)
);
CREATE INDEX cache_path_nar ON cache_path (nar_digest);
CREATE INDEX cache_path_used ON cache_path (cache_id, last_access_at);
CREATE INDEX cache_path_waiting ON cache_path (visible, created_at);

CREATE TABLE cache_missing (
    path_id BIGINT NOT NULL REFERENCES cache_path (id) ON DELETE CASCADE,
    cache_id BIGINT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (path_id, target)
);
CREATE INDEX cache_missing_target ON cache_missing (cache_id, target);

CREATE TABLE cache_announced (
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    hash_part TEXT NOT NULL,
    announced_at BIGINT NOT NULL,
    PRIMARY KEY (cache_id, hash_part)
);
CREATE INDEX cache_announced_at ON cache_announced (announced_at);

CREATE TABLE cache_upload (
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    file_name TEXT NOT NULL,
    nar_digest TEXT NOT NULL,
    nar_size BIGINT NOT NULL,
    file_hash TEXT NOT NULL,
    file_size BIGINT NOT NULL,
    added_bytes BIGINT NOT NULL,
    uploaded_by TEXT NOT NULL,
    uploaded_at BIGINT NOT NULL,
    PRIMARY KEY (cache_id, file_name)
);
CREATE INDEX cache_upload_nar ON cache_upload (nar_digest);
CREATE INDEX cache_upload_at ON cache_upload (uploaded_at);

CREATE TABLE cache_pin (
    id {id},
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    name TEXT NOT NULL,
    hash_part TEXT NOT NULL,
    store_path TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    UNIQUE (cache_id, name)
);

CREATE TABLE cache_realisation (
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cache_id, name)
);

CREATE TABLE cache_log (
    cache_id BIGINT NOT NULL REFERENCES cache_cache (id),
    drv TEXT NOT NULL,
    digest TEXT NOT NULL,
    encoding TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cache_id, drv)
);
CREATE INDEX cache_log_digest ON cache_log (digest);

CREATE TABLE cache_stat (
    cache_id BIGINT NOT NULL,
    day BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    bytes_served BIGINT NOT NULL,
    paths_added BIGINT NOT NULL,
    nar_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    PRIMARY KEY (cache_id, day)
);

CREATE TABLE cache_job_stat (
    job_id BIGINT NOT NULL,
    cache_id BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    bytes_served BIGINT NOT NULL,
    paths_added BIGINT NOT NULL,
    nar_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, cache_id)
);
CREATE INDEX cache_job_stat_at ON cache_job_stat (noted_at);

CREATE TABLE cache_secret (
    name TEXT PRIMARY KEY,
    sealed {blob} NOT NULL,
    created_at BIGINT NOT NULL
);
