CREATE TABLE event_log (
    seq {id},
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    project_id BIGINT,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    traceparent TEXT,
    task_id TEXT,
    at BIGINT NOT NULL
);
CREATE INDEX event_log_project ON event_log (project_id, seq);
CREATE TABLE event_consumer (
    name TEXT NOT NULL PRIMARY KEY,
    cursor BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
