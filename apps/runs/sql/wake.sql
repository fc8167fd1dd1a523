-- Queue waiting runs: at the workers that hold their processes, or for any worker of their version.
-- They come before younger runs. In development one that goes on elsewhere follows the newest code.
-- The caller holds the run locks and has opened the lanes.
-- Tables: environments_environment (read), runs_run, runs_readyrun, runs_runevent (written).
-- Parameters: runs uuid[], lanes bigint[], sessions uuid[] (parallel; null: nobody's); now.
WITH run AS (
    UPDATE runs_run r SET status = 'QUEUED', updated_at = %(now)s
    FROM unnest(%(runs)s::uuid[], %(lanes)s::bigint[], %(sessions)s::uuid[])
        AS t (run_id, lane_id, session_id)
    WHERE r.id = t.run_id AND r.status = 'WAITING'
    RETURNING r.id, r.environment_id, r.version_id, r.machine, r.attempt_count, r.created_at,
              r.priority_seconds, t.lane_id, t.session_id
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at)
    SELECT runs_uuid7(), id, environment_id, 'woken', 'QUEUED', attempt_count, %(now)s
    FROM run
)
INSERT INTO runs_readyrun (run_id, environment_id, lane_id, version_id, session_id, machine, order_at)
SELECT run.id, run.environment_id, run.lane_id,
       CASE WHEN e.type = 'development' THEN NULL ELSE run.version_id END,
       run.session_id, run.machine,
       run.created_at - make_interval(secs => run.priority_seconds)
FROM run
JOIN environments_environment e ON e.id = run.environment_id
