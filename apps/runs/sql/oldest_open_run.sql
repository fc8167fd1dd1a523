-- The first open run before an id; only the old days are read.
-- Tables: runs_run (read). Parameters: before uuid.
SELECT (
    SELECT id FROM runs_run WHERE id < %(before)s AND finished_at IS NULL ORDER BY id LIMIT 1
) AS id
