CREATE TABLE ci_pipeline (
    id {id},
    iid BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    -- Short name of the branch or tag.
    ref TEXT NOT NULL,
    tag BIGINT NOT NULL,
    protected BIGINT NOT NULL,
    sha TEXT NOT NULL,
    before_sha TEXT NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    user_id BIGINT,
    name TEXT,
    failure_reason TEXT,
    -- Diagnostics: what keeps the file from being a pipeline, and what the author should know.
    errors TEXT NOT NULL DEFAULT '[]',
    notices TEXT NOT NULL DEFAULT '[]',
    stages TEXT NOT NULL DEFAULT '[]',
    -- What the plan was made from.
    config TEXT,
    predefined TEXT NOT NULL DEFAULT '[]',
    variables TEXT NOT NULL DEFAULT '[]',
    traceparent TEXT,
    -- 0 until the jobs are there: nothing but its own creation sees such a pipeline.
    ready BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    UNIQUE (project_id, iid)
);
CREATE INDEX ci_pipeline_list ON ci_pipeline (project_id, id);
CREATE INDEX ci_pipeline_sha ON ci_pipeline (project_id, sha);
CREATE INDEX ci_pipeline_ref ON ci_pipeline (project_id, ref, id);
CREATE INDEX ci_pipeline_unready ON ci_pipeline (created_at) WHERE ready = 0;

-- The number that the next pipeline of a project gets.
CREATE TABLE ci_counter (project_id BIGINT NOT NULL PRIMARY KEY, last_iid BIGINT NOT NULL);

-- What became of each push: makes the consumer idempotent and answers whoever pushed.
CREATE TABLE ci_push (
    event_id TEXT NOT NULL PRIMARY KEY,
    pipeline_id BIGINT,
    done BIGINT NOT NULL,
    report TEXT NOT NULL DEFAULT '[]',
    at BIGINT NOT NULL
);

CREATE TABLE ci_job (
    id {id},
    pipeline_id BIGINT NOT NULL REFERENCES ci_pipeline (id),
    project_id BIGINT NOT NULL,
    -- Where the job stands in the pipeline's plan; of those with one position one is not retried.
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    stage TEXT NOT NULL,
    stage_index BIGINT NOT NULL,
    needs TEXT,
    run_when TEXT NOT NULL,
    start_in_ms BIGINT NOT NULL,
    plan TEXT NOT NULL,
    tags TEXT NOT NULL,
    protected BIGINT NOT NULL,
    status TEXT NOT NULL,
    runner_id BIGINT,
    system_id TEXT,
    failure_reason TEXT,
    scheduled_at BIGINT,
    -- What the file says, and what holds once the exit code is known.
    may_fail BIGINT NOT NULL,
    allow_failure BIGINT NOT NULL,
    exit_code BIGINT,
    retried BIGINT NOT NULL DEFAULT 0,
    -- How many tries came before this one.
    tries BIGINT NOT NULL DEFAULT 0,
    user_id BIGINT,
    variables TEXT NOT NULL DEFAULT '[]',
    token_digest TEXT,
    graceful BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 0,
    timeout_ms BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    queued_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    contact_at BIGINT,
    -- When somebody has to look at the job, should nothing happen before.
    due_at BIGINT,
    trace_bytes BIGINT NOT NULL DEFAULT 0,
    trace_crc BIGINT NOT NULL DEFAULT 0,
    trace_digest TEXT,
    trace_debug BIGINT NOT NULL DEFAULT 0,
    -- Whether it left an archive that expired or was erased.
    artifacts_gone BIGINT NOT NULL DEFAULT 0,
    erased_at BIGINT
);
CREATE INDEX ci_job_pipeline ON ci_job (pipeline_id, retried, position);
CREATE INDEX ci_job_project ON ci_job (project_id, id);
CREATE INDEX ci_job_pending ON ci_job (id) WHERE status = 'pending';
CREATE INDEX ci_job_runner ON ci_job (runner_id) WHERE status IN ('assigned', 'running', 'canceling');
-- Whether a job's success can matter to others is asked at each success.
CREATE INDEX ci_job_busy ON ci_job (pipeline_id, stage_index) WHERE status IN ('pending', 'assigned', 'running');
CREATE INDEX ci_job_needing ON ci_job (pipeline_id) WHERE status = 'created' AND needs IS NOT NULL;
CREATE INDEX ci_job_due ON ci_job (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX ci_job_token ON ci_job (token_digest) WHERE token_digest IS NOT NULL;
CREATE INDEX ci_job_unarchived ON ci_job (id) WHERE trace_bytes > 0 AND trace_digest IS NULL;
CREATE INDEX ci_job_trace ON ci_job (trace_digest) WHERE trace_digest IS NOT NULL;

-- The log of a job as it arrives; one object in the blob store once the job has ended.
CREATE TABLE ci_trace_chunk (
    job_id BIGINT NOT NULL,
    start BIGINT NOT NULL,
    body {blob} NOT NULL,
    PRIMARY KEY (job_id, start)
);

CREATE TABLE ci_artifact (
    id {id},
    job_id BIGINT NOT NULL REFERENCES ci_job (id),
    project_id BIGINT NOT NULL,
    file_type TEXT NOT NULL,
    file_format TEXT NOT NULL,
    filename TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    access TEXT NOT NULL,
    expire_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (job_id, file_type)
);
CREATE INDEX ci_artifact_expiry ON ci_artifact (expire_at) WHERE expire_at IS NOT NULL;
CREATE INDEX ci_artifact_digest ON ci_artifact (digest);

CREATE TABLE ci_runner (
    id {id},
    token_digest TEXT NOT NULL UNIQUE,
    runner_type TEXT NOT NULL,
    project_id BIGINT,
    group_id BIGINT,
    description TEXT NOT NULL,
    maintenance_note TEXT,
    tags TEXT NOT NULL,
    run_untagged BIGINT NOT NULL,
    locked BIGINT NOT NULL,
    paused BIGINT NOT NULL,
    protected BIGINT NOT NULL,
    maximum_timeout_secs BIGINT,
    creator_id BIGINT,
    created_at BIGINT NOT NULL,
    contacted_at BIGINT
);
CREATE INDEX ci_runner_project ON ci_runner (project_id);

-- The machines that use a runner's token.
CREATE TABLE ci_runner_manager (
    id {id},
    runner_id BIGINT NOT NULL REFERENCES ci_runner (id),
    system_id TEXT NOT NULL,
    version TEXT NOT NULL,
    revision TEXT NOT NULL,
    platform TEXT NOT NULL,
    architecture TEXT NOT NULL,
    executor TEXT NOT NULL,
    graceful BIGINT NOT NULL,
    ip_address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    contacted_at BIGINT NOT NULL,
    UNIQUE (runner_id, system_id)
);
