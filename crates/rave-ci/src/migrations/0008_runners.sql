-- Until when the token counts, and whether the runner registered itself with a registration token.
ALTER TABLE ci_runner ADD COLUMN token_expires_at BIGINT;
ALTER TABLE ci_runner ADD COLUMN legacy BIGINT NOT NULL DEFAULT 0;

-- Further projects that a project's runner works for, besides the one that owns it.
CREATE TABLE ci_runner_share (
    runner_id BIGINT NOT NULL REFERENCES ci_runner (id),
    project_id BIGINT NOT NULL,
    PRIMARY KEY (runner_id, project_id)
);
CREATE INDEX ci_runner_share_project ON ci_runner_share (project_id);

-- The program, and what it says that it can do: a list of names, NULL when it says nothing.
ALTER TABLE ci_runner_manager ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE ci_runner_manager ADD COLUMN features TEXT;

-- What a runner has to be able to do for the job.
ALTER TABLE ci_job ADD COLUMN features TEXT NOT NULL DEFAULT '[]';
CREATE INDEX ci_job_pending_of ON ci_job (project_id, id) WHERE status = 'pending';
CREATE INDEX ci_job_runner_all ON ci_job (runner_id, id) WHERE runner_id IS NOT NULL;

-- Tokens by which runners register themselves: one of the instance, and of each group or project that asked for one.
CREATE TABLE ci_registration_token (
    owner_kind TEXT NOT NULL,
    owner_id BIGINT NOT NULL,
    token_digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_kind, owner_id)
);
