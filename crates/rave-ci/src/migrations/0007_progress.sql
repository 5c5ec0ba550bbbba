-- What is locked while a pipeline changes: a narrow row, which is cheap to write however long the pipeline's file is.
CREATE TABLE ci_progress (
    pipeline_id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    -- How many jobs of each kind each stage has, and the `version` of the pipeline's row for which that is so: NULL until
    -- somebody counts. A program of before this table raises the other number with its changes.
    tallies TEXT,
    tallies_version BIGINT
);

-- Which job waits for which, by their positions. Complete for every pipeline whose jobs were counted.
CREATE TABLE ci_need (
    pipeline_id BIGINT NOT NULL,
    needed BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (pipeline_id, needed, position)
);

CREATE INDEX ci_job_waiting ON ci_job (pipeline_id, stage_index) WHERE status = 'created' AND needs IS NULL;
DROP INDEX ci_job_busy;
DROP INDEX ci_job_needing;
