-- Which of these runs, that something they wait for has completed, need wait no longer, where they
-- belong in the queue, and who holds their processes. Those that wait for all, and have an open one
-- left, wait on. The caller holds the run locks: of two waitpoints that complete at the same moment,
-- one sees both.
-- Tables: runs_run, runs_wait, runs_waitpoint, runs_lease (read). Parameters: runs uuid[].
SELECT r.id, r.environment_id, r.queue, coalesce(r.concurrency_key, '') AS key,
       CASE WHEN r.is_single THEN r.task ELSE '' END AS task, l.session_id
FROM runs_run r
LEFT JOIN runs_lease l ON l.run_id = r.id
WHERE r.id = ANY(%(runs)s::uuid[]) AND r.status = 'WAITING'
  AND (l.run_id IS NOT NULL OR r.suspended_attempt_id IS NOT NULL)
  AND NOT EXISTS (
      SELECT FROM runs_wait w JOIN runs_waitpoint p ON p.id = w.waitpoint_id
      WHERE w.run_id = r.id AND w.needs_all AND p.completed_at IS NULL
  )
