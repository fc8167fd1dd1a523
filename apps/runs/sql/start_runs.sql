-- Record that workers have started attempts: the lease counts as delivered, the run is locked to
-- the worker's version. An attempt that its worker had let go of goes on.
-- The caller holds the run locks and has checked the generations.
-- Returns since when those that had never started before might have.
-- Tables: runs_lease, runs_run, runs_attempt, runs_runevent (written), runs_timer (TTL removed).
-- Parameters: runs uuid[], attempts int[], attempt_ids uuid[], event_ids uuid[] (parallel); now,
-- lease interval.
WITH told AS (
    SELECT t.run_id, t.attempt, t.event_id, coalesce(r.suspended_attempt_id, t.attempt_id) AS attempt_id,
           r.suspended_attempt_id IS NOT NULL AS goes_on
    FROM unnest(
        %(runs)s::uuid[], %(attempts)s::int[], %(attempt_ids)s::uuid[], %(event_ids)s::uuid[]
    ) AS t (run_id, attempt, attempt_id, event_id)
    JOIN runs_run r ON r.id = t.run_id
),
lease AS (
    UPDATE runs_lease l
    SET is_started = true, attempt_id = t.attempt_id, expires_at = %(now)s + %(lease)s::interval
    FROM told t
    WHERE l.run_id = t.run_id
    RETURNING l.run_id, l.version_id, l.session_id, l.generation
),
run AS (
    UPDATE runs_run r
    SET status = 'EXECUTING', attempt_count = t.attempt, delivery_count = 0,
        started_at = coalesce(r.started_at, %(now)s), updated_at = %(now)s,
        version_id = v.id, version_number = v.number, suspended_attempt_id = NULL
    FROM told t
    JOIN lease l USING (run_id)
    JOIN deployments_version v ON v.id = l.version_id
    WHERE r.id = t.run_id
    RETURNING r.id, r.environment_id, r.queued_at, r.started_at
),
attempt AS (
    INSERT INTO runs_attempt (id, run_id, number, status, generation, session_id, version_id,
                              started_at, executed_ms)
    SELECT t.attempt_id, l.run_id, t.attempt, 'EXECUTING', l.generation, l.session_id, l.version_id,
           %(now)s, 0
    FROM told t JOIN lease l USING (run_id)
    WHERE NOT t.goes_on
),
resumed AS (
    UPDATE runs_attempt a
    SET generation = l.generation, session_id = l.session_id, version_id = l.version_id
    FROM told t JOIN lease l USING (run_id)
    WHERE t.goes_on AND a.id = t.attempt_id
),
timer AS (
    DELETE FROM runs_timer
    WHERE kind = 'ttl' AND run_id IN (SELECT id FROM run)
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at)
    SELECT t.event_id, run.id, run.environment_id,
           CASE WHEN t.goes_on THEN 'resumed' ELSE 'started' END, 'EXECUTING', t.attempt, %(now)s
    FROM told t JOIN run ON run.id = t.run_id
)
SELECT queued_at FROM run WHERE started_at = %(now)s AND queued_at IS NOT NULL
