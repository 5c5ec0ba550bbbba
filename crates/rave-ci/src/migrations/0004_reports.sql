-- Reports are read by a worker after their upload; 1 for what was read, and for artifacts that are no reports.
ALTER TABLE ci_artifact ADD COLUMN is_read BIGINT NOT NULL DEFAULT 0;
UPDATE ci_artifact SET is_read = 1 WHERE file_type IN ('archive', 'metadata', 'dotenv');
CREATE INDEX ci_artifact_unread ON ci_artifact (id) WHERE is_read = 0;

-- The percentage that `coverage:` found in the job's log.
ALTER TABLE ci_job ADD COLUMN coverage DOUBLE PRECISION;

-- What one report of a job came to.
CREATE TABLE ci_report (
    job_id BIGINT NOT NULL REFERENCES ci_job (id),
    kind TEXT NOT NULL,
    pipeline_id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    -- Why it cannot be read.
    error TEXT,
    -- Counts, and the entries of reports that are small lists.
    summary TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, kind)
);
CREATE INDEX ci_report_pipeline ON ci_report (pipeline_id);

CREATE TABLE ci_test (
    id {id},
    job_id BIGINT NOT NULL REFERENCES ci_job (id),
    pipeline_id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    -- What tells the test from others of the project, in every pipeline the same.
    digest TEXT NOT NULL,
    suite TEXT NOT NULL,
    class TEXT NOT NULL,
    name TEXT NOT NULL,
    file TEXT,
    line BIGINT,
    outcome TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    message TEXT NOT NULL,
    output TEXT NOT NULL,
    attachment TEXT
);
CREATE INDEX ci_test_pipeline ON ci_test (pipeline_id, outcome, id);
CREATE INDEX ci_test_history ON ci_test (project_id, digest, pipeline_id);
CREATE INDEX ci_test_job ON ci_test (job_id);

CREATE TABLE ci_finding (
    id {id},
    job_id BIGINT NOT NULL REFERENCES ci_job (id),
    pipeline_id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    -- The place of the severity in the order of severities, the worst first.
    severity BIGINT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    solution TEXT NOT NULL,
    path TEXT NOT NULL,
    line BIGINT,
    identifier TEXT NOT NULL,
    link TEXT,
    scanner TEXT NOT NULL
);
CREATE INDEX ci_finding_pipeline ON ci_finding (pipeline_id, kind, fingerprint);
CREATE INDEX ci_finding_job ON ci_finding (job_id);

CREATE TABLE ci_coverage_file (
    job_id BIGINT NOT NULL REFERENCES ci_job (id),
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    pipeline_id BIGINT NOT NULL,
    line_count BIGINT NOT NULL,
    covered BIGINT NOT NULL,
    missed TEXT NOT NULL,
    PRIMARY KEY (job_id, kind, path)
);
CREATE INDEX ci_coverage_file_pipeline ON ci_coverage_file (pipeline_id);
