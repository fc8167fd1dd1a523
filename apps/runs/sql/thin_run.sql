-- Delete a bite of one old day's ended runs.
-- Tables: runs_run (written). Parameters: first, end uuid; most int.
DELETE FROM runs_run
WHERE id IN (
    SELECT id FROM runs_run
    WHERE id >= %(first)s AND id < %(end)s AND finished_at IS NOT NULL
    LIMIT %(most)s
)
AND id >= %(first)s AND id < %(end)s
