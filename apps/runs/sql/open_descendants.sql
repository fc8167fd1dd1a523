-- A run and all its descendants, those that have ended left out (but not their children).
-- Tables: runs_run (read). Parameters: run uuid.
WITH RECURSIVE tree AS (
    SELECT id, finished_at FROM runs_run WHERE id = %(run)s
    UNION ALL
    SELECT child.id, child.finished_at
    FROM tree JOIN runs_run child ON child.parent_id = tree.id
)
SELECT id FROM tree WHERE finished_at IS NULL
