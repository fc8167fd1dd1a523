-- Lock the waiting runs that wait for any of these waitpoints.
-- Tables: runs_wait (read), runs_run (locked in id order). Parameters: waitpoints uuid[].
SELECT id FROM runs_run
WHERE id IN (SELECT run_id FROM runs_wait WHERE waitpoint_id = ANY(%(waitpoints)s::uuid[]))
  AND status = 'WAITING'
ORDER BY id
FOR NO KEY UPDATE
