-- Variables of the instance, of groups and of projects.
CREATE TABLE ci_variable (
    id {id},
    -- `instance`, `group` or `project`, and which; 0 for the instance.
    owner_kind TEXT NOT NULL,
    owner_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    -- Sealed with the key of the data directory.
    value {blob} NOT NULL,
    variable_type TEXT NOT NULL,
    masked BIGINT NOT NULL,
    hidden BIGINT NOT NULL,
    protected BIGINT NOT NULL,
    raw BIGINT NOT NULL,
    environment_scope TEXT NOT NULL,
    description TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (owner_kind, owner_id, key, environment_scope)
);

-- Tokens by which other programs start pipelines, as their owner.
CREATE TABLE ci_trigger (
    id {id},
    project_id BIGINT NOT NULL,
    owner_id BIGINT NOT NULL,
    description TEXT NOT NULL,
    token_digest TEXT NOT NULL UNIQUE,
    -- The first letters, by which people tell tokens apart.
    short_token TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX ci_trigger_project ON ci_trigger (project_id, id);

-- Pipelines that start by the clock, as their owner.
CREATE TABLE ci_schedule (
    id {id},
    project_id BIGINT NOT NULL,
    owner_id BIGINT NOT NULL,
    description TEXT NOT NULL,
    -- Name of a branch or tag, short or full.
    ref TEXT NOT NULL,
    cron TEXT NOT NULL,
    cron_timezone TEXT NOT NULL,
    active BIGINT NOT NULL,
    -- Variables and inputs, sealed with the key of the data directory.
    given {blob} NOT NULL,
    -- Whoever moves this on lets it run: of two servers one succeeds.
    next_run_at BIGINT,
    -- Why there was no pipeline the last time it should have run.
    problem TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX ci_schedule_project ON ci_schedule (project_id, id);
CREATE INDEX ci_schedule_due ON ci_schedule (next_run_at) WHERE active = 1 AND next_run_at IS NOT NULL;

-- The schedule that asked for a pipeline.
ALTER TABLE ci_pipeline ADD COLUMN schedule_id BIGINT;
CREATE INDEX ci_pipeline_schedule ON ci_pipeline (schedule_id, id) WHERE schedule_id IS NOT NULL;
