-- Lock runs in id order, with the lease that each has; the one mutex of a run that executes.
-- Tables: runs_run (locked), runs_lease (read: every writer of a lease holds its run's lock).
-- Parameters: runs uuid[].
SELECT r.id, r.status, r.environment_id, r.attempt_count, r.max_attempts, r.delivery_count,
       r.cancel_requested_at, r.queue, r.concurrency_key, r.machine, r.priority_seconds, r.version_id,
       r.queued_at, r.task, r.executed_ms,
       l.generation, l.session_id, l.attempt_id, l.is_started, l.holds_slot
FROM runs_run r
LEFT JOIN runs_lease l ON l.run_id = r.id
WHERE r.id = ANY(%(runs)s::uuid[])
ORDER BY r.id
FOR NO KEY UPDATE OF r
