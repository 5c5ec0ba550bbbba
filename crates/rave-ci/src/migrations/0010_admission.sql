-- What a job's variables ask for of memory before it begins; NULL where they do not say. What a new try was given because
-- the one before it outgrew its memory.
ALTER TABLE ci_job ADD COLUMN memory_asked BIGINT;
ALTER TABLE ci_job ADD COLUMN memory_given BIGINT;

-- The most memory that the machine gives one job; NULL when it says nothing of it, as stock runners do.
ALTER TABLE ci_runner_manager ADD COLUMN memory_bytes BIGINT;
