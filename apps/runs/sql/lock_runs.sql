-- Lock runs that workers hold, each with its lease, in id order: the one mutex of such a run. A run
-- without a lease is left out. The lease is locked too, so that it is read as it is now, not as it
-- was when this statement began and another had the run.
-- Tables: runs_run, runs_lease (locked). Parameters: runs uuid[].
SELECT r.id, r.environment_id, r.attempt_count, r.max_attempts,
       r.cancel_requested_at IS NOT NULL AS is_being_canceled,
       l.session_id, l.generation, l.is_started, l.holds_slot, l.expires_at
FROM runs_run r
JOIN runs_lease l ON l.run_id = r.id
WHERE r.id = ANY(%(runs)s::uuid[])
ORDER BY r.id
FOR NO KEY UPDATE
