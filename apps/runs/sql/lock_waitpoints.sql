-- Lock the waitpoints that a batch of reports touches, in id order, before any run: those that
-- stand for the runs, and those that are named.
-- Tables: runs_waitpoint (locked). Parameters: runs uuid[], named uuid[].
SELECT id, environment_id FROM runs_waitpoint
WHERE (kind = 'run' AND run_id = ANY(%(runs)s::uuid[])) OR id = ANY(%(named)s::uuid[])
ORDER BY id
FOR UPDATE
