-- Give suspended runs that were woken their slot again, at the worker that holds their process.
-- Tables: runs_readyrun, runs_environmentslots, runs_lane (locked, skipping what is locked),
-- runs_run, runs_lease, runs_runevent (written).
-- Parameters: sessions uuid[], free int[] (parallel); now, lease interval.
WITH candidate AS MATERIALIZED (
    SELECT r.run_id, r.lane_id, r.environment_id, r.order_at
    FROM unnest(%(sessions)s::uuid[], %(free)s::int[]) AS p (session_id, free)
    CROSS JOIN LATERAL (
        SELECT run_id, lane_id, environment_id, order_at FROM runs_readyrun
        WHERE session_id = p.session_id
        ORDER BY order_at, run_id
        LIMIT p.free
        FOR UPDATE SKIP LOCKED
    ) AS r
),
room AS (
    SELECT s.environment_id, floor(e.concurrency_limit * e.burst_factor)::int - s.used AS room
    FROM runs_environmentslots s
    JOIN environments_environment e ON e.id = s.environment_id
    WHERE s.environment_id IN (SELECT environment_id FROM candidate)
    ORDER BY s.environment_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
),
lane AS MATERIALIZED (
    SELECT l.id, coalesce(l.cap - l.used, 2147483647) AS lane_room
    FROM runs_lane l
    WHERE l.id IN (SELECT lane_id FROM candidate)
    ORDER BY l.id
    FOR NO KEY UPDATE SKIP LOCKED
),
turn AS (
    SELECT c.*, r.room, l.lane_room,
           row_number() OVER (PARTITION BY c.lane_id ORDER BY c.order_at, c.run_id) AS turn
    FROM candidate c
    JOIN room r USING (environment_id)
    JOIN lane l ON l.id = c.lane_id
),
nth AS (
    SELECT *, row_number() OVER (PARTITION BY environment_id ORDER BY order_at, run_id) AS nth
    FROM turn
    WHERE turn <= lane_room
),
run AS (
    UPDATE runs_run r
    SET status = 'EXECUTING', generation = r.generation + 1, updated_at = %(now)s
    FROM nth c
    WHERE c.nth <= c.room AND r.id = c.run_id AND r.status = 'QUEUED'
    RETURNING r.id, r.environment_id, r.generation, r.attempt_count, c.lane_id
),
gone AS (
    DELETE FROM runs_readyrun WHERE run_id IN (SELECT id FROM run)
),
served AS (
    UPDATE runs_lane l SET used = l.used + t.taken
    FROM (SELECT lane_id, count(*) AS taken FROM run GROUP BY lane_id) AS t
    WHERE l.id = t.lane_id
),
used AS (
    UPDATE runs_environmentslots s SET used = s.used + t.taken
    FROM (SELECT environment_id, count(*) AS taken FROM run GROUP BY environment_id) AS t
    WHERE s.environment_id = t.environment_id
),
lease AS (
    UPDATE runs_lease l
    SET generation = run.generation, holds_slot = true, lane_id = run.lane_id,
        expires_at = %(now)s + %(lease)s::interval
    FROM run
    WHERE l.run_id = run.id
    RETURNING l.run_id, l.session_id, l.generation
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at)
    SELECT runs_uuid7(), id, environment_id, 'resumed', 'EXECUTING', attempt_count, %(now)s
    FROM run
)
SELECT run_id, session_id, generation FROM lease
