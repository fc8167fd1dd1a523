-- A run and those below it, level by level, up to a number of them: reading stops there.
-- Tables: runs_run, by run_children (read). Parameters: environment uuid, run uuid, most int.
WITH RECURSIVE tree AS (
    SELECT id, environment_id FROM runs_run
    WHERE id = %(run)s AND environment_id = %(environment)s
    UNION ALL
    SELECT child.id, child.environment_id
    FROM tree JOIN runs_run child
        ON child.parent_id = tree.id AND child.environment_id = tree.environment_id
)
SELECT id FROM tree LIMIT %(most)s
