-- Whether a run waits, directly or through others, for the end of another: its waiters, and theirs,
-- until the wanted one is found.
--
-- A waiter is a parent that triggered the run to wait for it (it may not be suspended yet), and
-- whoever is suspended for it or for a batch that it is in.
-- Tables: runs_run, runs_waitpoint, runs_wait, runs_batchitem (read). Parameters: run uuid,
-- wanted uuid.
WITH RECURSIVE waiter AS (
    SELECT %(run)s::uuid AS id
    UNION
    SELECT found.id
    FROM waiter
    CROSS JOIN LATERAL (
        SELECT parent_id AS id FROM runs_run
        WHERE runs_run.id = waiter.id AND trigger_function LIKE '%%AndWait' AND parent_id IS NOT NULL
        UNION ALL
        SELECT w.run_id FROM runs_waitpoint p JOIN runs_wait w ON w.waitpoint_id = p.id
        WHERE p.kind = 'run' AND p.run_id = waiter.id AND p.completed_at IS NULL
        UNION ALL
        SELECT w.run_id
        FROM runs_batchitem i
        JOIN runs_waitpoint p ON p.kind = 'batch' AND p.batch_id = i.batch_id
        JOIN runs_wait w ON w.waitpoint_id = p.id
        WHERE i.run_id = waiter.id AND p.completed_at IS NULL
    ) AS found
)
SELECT id FROM waiter WHERE id = %(wanted)s::uuid LIMIT 1
