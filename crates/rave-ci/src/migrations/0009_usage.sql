-- What a job used, as its runner says: JSON.
ALTER TABLE ci_job ADD COLUMN resource_usage TEXT;

-- What the last runs of a job needed of memory, the newest first: JSON. Jobs of `parallel` are one.
CREATE TABLE ci_memory (
    project_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    runs TEXT NOT NULL,
    PRIMARY KEY (project_id, name)
);
