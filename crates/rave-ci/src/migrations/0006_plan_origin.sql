-- What a pipeline was planned from, as far as its row and its commit do not say it: compressed JSON.
CREATE TABLE ci_plan_origin (
    pipeline_id BIGINT NOT NULL PRIMARY KEY,
    packed {blob} NOT NULL
);
