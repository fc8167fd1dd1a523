-- Lock runs that workers hold, each with its lease, in id order: the one mutex of such a run. A run
-- without a lease is left out. The lease is locked too, after its run, so that it is read as it is
-- now, not as it was when this statement began and another had the run. An attempt that goes on is
-- not counted before it does.
-- Tables: runs_run, runs_lease (locked). Parameters: runs uuid[].
WITH run AS MATERIALIZED (
    SELECT id, environment_id, max_attempts,
           attempt_count - (suspended_attempt_id IS NOT NULL)::int AS attempt_count,
           cancel_requested_at IS NOT NULL AS is_being_canceled
    FROM runs_run
    WHERE id = ANY(%(runs)s::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT r.*, l.session_id, l.generation, l.is_started, l.holds_slot, l.expires_at
FROM run r
JOIN runs_lease l ON l.run_id = r.id
ORDER BY r.id
FOR NO KEY UPDATE OF l
