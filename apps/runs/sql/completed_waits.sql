-- What these runs waited for and has completed, in the order in which it did.
-- Tables: runs_wait, runs_waitpoint (read). Parameters: runs uuid[].
SELECT w.run_id, p.id, p.run_id AS of_run_id, p.output, p.output_type, p.error, p.key, p.seq, p.due_at
FROM runs_wait w
JOIN runs_waitpoint p ON p.id = w.waitpoint_id
WHERE w.run_id = ANY(%(runs)s::uuid[]) AND p.completed_at IS NOT NULL
ORDER BY p.completed_at, p.id
