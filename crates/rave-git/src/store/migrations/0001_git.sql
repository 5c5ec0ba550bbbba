-- A copy of the branches and tags on disk, as far as they were announced by push.received.
CREATE TABLE git_ref (
    project_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, name)
);
-- A push that is being received. A row whose process is gone means: references may have moved without an event.
CREATE TABLE git_push (
    id {id},
    project_id BIGINT NOT NULL,
    user_id BIGINT,
    options TEXT NOT NULL,
    traceparent TEXT,
    holder TEXT NOT NULL,
    started_at BIGINT NOT NULL
);
CREATE INDEX git_push_project ON git_push (project_id);
CREATE TABLE git_protected_branch (
    id {id},
    project_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    push_level BIGINT NOT NULL,
    merge_level BIGINT NOT NULL,
    allow_force_push BIGINT NOT NULL DEFAULT 0,
    UNIQUE (project_id, name)
);
-- What maintenance knows of a repository.
CREATE TABLE git_repository (
    project_id BIGINT NOT NULL PRIMARY KEY,
    pushes BIGINT NOT NULL DEFAULT 0,
    maintained_at BIGINT
);
CREATE INDEX git_repository_pushes ON git_repository (pushes);
