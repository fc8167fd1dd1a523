-- The waiting runs that these completed waitpoints release: those that wait for any, and those
-- that wait for all and have no open one left. Their locks are taken in id order.
-- Tables: runs_wait, runs_waitpoint (read), runs_run (locked), runs_lease (read).
-- Parameters: waitpoints uuid[].
WITH waiter AS (
    SELECT DISTINCT w.run_id FROM runs_wait w
    WHERE w.waitpoint_id = ANY(%(waitpoints)s::uuid[])
      AND (
          NOT w.needs_all
          OR NOT EXISTS (
              SELECT FROM runs_wait o JOIN runs_waitpoint p ON p.id = o.waitpoint_id
              WHERE o.run_id = w.run_id AND p.completed_at IS NULL
          )
      )
)
SELECT r.id, l.session_id
FROM runs_run r
LEFT JOIN runs_lease l ON l.run_id = r.id
WHERE r.id IN (SELECT run_id FROM waiter) AND r.status = 'WAITING'
ORDER BY r.id
FOR NO KEY UPDATE OF r
