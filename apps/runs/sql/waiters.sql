-- Take the next bite of the runs that wait for any of these waitpoints, by their ids, and lock those of
-- it that are waiting still; the rest of the bite has gone on or ended.
-- Tables: runs_wait (read), runs_run (locked in id order).
-- Parameters: waitpoints uuid[], after uuid (null: from the first), most int.
WITH named AS MATERIALIZED (
    SELECT DISTINCT run_id FROM runs_wait
    WHERE waitpoint_id = ANY(%(waitpoints)s::uuid[])
      AND (%(after)s::uuid IS NULL OR run_id > %(after)s::uuid)
    ORDER BY run_id
    LIMIT %(most)s
),
locked AS MATERIALIZED (
    SELECT id FROM runs_run
    WHERE id IN (SELECT run_id FROM named) AND status = 'WAITING'
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT named.run_id AS id, locked.id IS NOT NULL AS is_waiting
FROM named LEFT JOIN locked ON locked.id = named.run_id
ORDER BY named.run_id
