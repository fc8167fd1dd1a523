-- Let workers go of durable runs that wait: the leases are dropped, the attempts stay open and go
-- on when the runs are handed out again. A run that was woken meanwhile is not let go of. The caller
-- holds the run locks; the slots have been given back.
-- Returns those that were. Tables: runs_run, runs_attempt (written), runs_lease (removed).
-- Parameters: runs uuid[], executed bigint[] (parallel); now.
WITH told AS (
    SELECT * FROM unnest(%(runs)s::uuid[], %(executed)s::bigint[]) AS t (run_id, executed_ms)
),
run AS (
    UPDATE runs_run r
    SET suspended_attempt_id = l.attempt_id, executed_ms = r.executed_ms + t.executed_ms,
        updated_at = %(now)s
    FROM told t
    JOIN runs_lease l USING (run_id)
    WHERE r.id = t.run_id AND r.status = 'WAITING' AND l.attempt_id IS NOT NULL AND NOT l.holds_slot
    RETURNING r.id, l.attempt_id, t.executed_ms
),
attempt AS (
    UPDATE runs_attempt a SET executed_ms = a.executed_ms + run.executed_ms
    FROM run
    WHERE a.id = run.attempt_id
),
lease AS (DELETE FROM runs_lease WHERE run_id IN (SELECT id FROM run))
SELECT id FROM run
