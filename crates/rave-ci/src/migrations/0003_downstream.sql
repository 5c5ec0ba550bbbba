-- The bridge that made the pipeline, and that bridge's pipeline.
ALTER TABLE ci_pipeline ADD COLUMN bridge_job_id BIGINT;
ALTER TABLE ci_pipeline ADD COLUMN upstream_id BIGINT;
-- `workflow:auto_cancel`, and the newer pipeline that made this one redundant.
ALTER TABLE ci_pipeline ADD COLUMN on_new_commit TEXT NOT NULL DEFAULT 'conservative';
ALTER TABLE ci_pipeline ADD COLUMN on_job_failure TEXT NOT NULL DEFAULT 'none';
ALTER TABLE ci_pipeline ADD COLUMN auto_canceled_by BIGINT;
-- A bridge makes one pipeline, however often it is tried.
CREATE UNIQUE INDEX ci_pipeline_bridge ON ci_pipeline (bridge_job_id) WHERE bridge_job_id IS NOT NULL;
CREATE INDEX ci_pipeline_upstream ON ci_pipeline (upstream_id) WHERE upstream_id IS NOT NULL;

ALTER TABLE ci_job ADD COLUMN bridge BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ci_job ADD COLUMN interruptible BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ci_job ADD COLUMN resource_group_id BIGINT;
-- Why a bridge has no pipeline, for people.
ALTER TABLE ci_job ADD COLUMN bridge_errors TEXT NOT NULL DEFAULT '[]';
CREATE INDEX ci_job_triggering ON ci_job (id) WHERE status = 'triggering';
CREATE INDEX ci_job_resource ON ci_job (resource_group_id, status) WHERE resource_group_id IS NOT NULL;

-- What at most one job of a project uses at a time, and the job that does.
CREATE TABLE ci_resource_group (
    id {id},
    project_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    process_mode TEXT NOT NULL,
    job_id BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (project_id, name)
);

-- Bridges that go on as long as a pipeline does; `due` when it changed since they looked, `ended` when both have ended, so
-- that they go on together.
CREATE TABLE ci_follow (
    job_id BIGINT NOT NULL PRIMARY KEY,
    pipeline_id BIGINT NOT NULL,
    strategy TEXT NOT NULL,
    due BIGINT NOT NULL,
    ended BIGINT NOT NULL
);
CREATE INDEX ci_follow_pipeline ON ci_follow (pipeline_id);
CREATE INDEX ci_follow_due ON ci_follow (job_id) WHERE due = 1;

-- What has to be done to pipelines because of something that is done already. Each may be done twice.
CREATE TABLE ci_chore (
    id {id},
    kind TEXT NOT NULL,
    pipeline_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Variables that a job leaves to later ones.
CREATE TABLE ci_dotenv (
    job_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
);

-- A project's own choices; a project without a row has the defaults.
CREATE TABLE ci_project (
    project_id BIGINT NOT NULL PRIMARY KEY,
    auto_cancel BIGINT NOT NULL
);
