CREATE TABLE auth_user (
    id {id},
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    admin BIGINT NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'active',
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_sign_in_at BIGINT
);

CREATE TABLE auth_namespace (
    id {id},
    parent_id BIGINT REFERENCES auth_namespace (id),
    owner_id BIGINT REFERENCES auth_user (id),
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    visibility TEXT NOT NULL DEFAULT 'private',
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX auth_namespace_parent ON auth_namespace (parent_id);
CREATE UNIQUE INDEX auth_namespace_owner ON auth_namespace (owner_id);

CREATE TABLE auth_project (
    id {id},
    namespace_id BIGINT NOT NULL REFERENCES auth_namespace (id),
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    visibility TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    archived BIGINT NOT NULL DEFAULT 0,
    creator_id BIGINT REFERENCES auth_user (id),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL
);
CREATE INDEX auth_project_namespace ON auth_project (namespace_id);
CREATE INDEX auth_project_activity ON auth_project (last_activity_at, id);

-- Users, groups and projects share one space of paths, without regard to case.
CREATE TABLE auth_path (
    key TEXT NOT NULL PRIMARY KEY,
    namespace_id BIGINT REFERENCES auth_namespace (id),
    project_id BIGINT REFERENCES auth_project (id)
);
CREATE INDEX auth_path_namespace ON auth_path (namespace_id);
CREATE INDEX auth_path_project ON auth_path (project_id);

CREATE TABLE auth_member (
    source_kind TEXT NOT NULL,
    source_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES auth_user (id),
    level BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by BIGINT REFERENCES auth_user (id),
    expires_at BIGINT,
    PRIMARY KEY (source_kind, source_id, user_id)
);
CREATE INDEX auth_member_user ON auth_member (user_id, source_kind);

CREATE TABLE auth_token (
    id {id},
    digest TEXT NOT NULL UNIQUE,
    user_id BIGINT NOT NULL REFERENCES auth_user (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX auth_token_user ON auth_token (user_id, id);

CREATE TABLE auth_session (
    digest TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES auth_user (id),
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX auth_session_user ON auth_session (user_id);
CREATE INDEX auth_session_expiry ON auth_session (expires_at);

-- Links by which a person takes over an account and chooses its password, once.
CREATE TABLE auth_claim (
    digest TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES auth_user (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX auth_claim_user ON auth_claim (user_id);
