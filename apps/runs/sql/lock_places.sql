-- Lock, before any run, what the ends of these runs take away or complete: their places in the
-- queue, then the waitpoints that stand for them, and with these the waitpoints named.
-- Tables: runs_readyrun, runs_waitpoint (locked in id order). Parameters: runs uuid[], named uuid[].
WITH place AS MATERIALIZED (
    SELECT run_id FROM runs_readyrun
    WHERE run_id = ANY(%(runs)s::uuid[])
    ORDER BY run_id
    FOR UPDATE
)
SELECT id, environment_id FROM runs_waitpoint
WHERE ((kind = 'run' AND run_id = ANY(%(runs)s::uuid[])) OR id = ANY(%(named)s::uuid[]))
  AND (SELECT count(*) FROM place) >= 0  -- places first
ORDER BY id
FOR UPDATE
