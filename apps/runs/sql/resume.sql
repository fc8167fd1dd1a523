-- Give suspended runs that were woken their slot again, at the worker that holds their process.
-- Tables: runs_readyrun, runs_environmentslots, runs_queueslots, runs_lane (locked, skipping what is
-- locked), runs_run, runs_lease, runs_runevent (written).
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
wanted AS MATERIALIZED (
    SELECT e.id AS environment_id, e.organization_id, e.concurrency_limit AS base,
           floor(e.concurrency_limit * e.burst_factor)::int AS ceiling,
           g.concurrency_limit AS organization_limit
    FROM environments_environment e
    JOIN orgs_organization g ON g.id = e.organization_id
    WHERE e.id IN (SELECT environment_id FROM candidate)
),
limited AS MATERIALIZED (
    -- a limit of an organization counts over all of its environments, so all must be ours
    SELECT s.environment_id, w.organization_id, w.organization_limit
    FROM (
        SELECT DISTINCT organization_id, organization_limit
        FROM wanted WHERE organization_limit IS NOT NULL
    ) AS w
    JOIN environments_environment e ON e.organization_id = w.organization_id
    JOIN runs_environmentslots s ON s.environment_id = e.id
),
ours AS MATERIALIZED (
    SELECT environment_id, used
    FROM runs_environmentslots
    WHERE environment_id IN (
        SELECT environment_id FROM wanted UNION ALL SELECT environment_id FROM limited
    )
    ORDER BY environment_id
    FOR NO KEY UPDATE SKIP LOCKED
),
organization AS MATERIALIZED (
    SELECT l.organization_id, min(l.organization_limit) - sum(o.used) AS room
    FROM limited l LEFT JOIN ours o USING (environment_id)
    GROUP BY l.organization_id
    HAVING count(o.environment_id) = count(*)
),
environment AS MATERIALIZED (
    SELECT w.environment_id, w.organization_id, w.base, w.ceiling - o.used AS room,
           CASE WHEN w.organization_limit IS NULL THEN 2147483647 ELSE g.room END
               AS organization_room
    FROM wanted w
    JOIN ours o USING (environment_id)
    LEFT JOIN organization g USING (organization_id)
),
queue AS MATERIALIZED (
    SELECT q.id, e.environment_id, least(q.cap - q.used, e.base - q.used) AS room
    FROM runs_queueslots q
    JOIN environment e USING (environment_id)
    WHERE q.id IN (SELECT n.slots_id FROM candidate c JOIN runs_lane n ON n.id = c.lane_id)
    ORDER BY q.id
    FOR NO KEY UPDATE OF q SKIP LOCKED
),
lane AS MATERIALIZED (
    SELECT l.id, l.slots_id, q.room AS queue_room, least(l.cap - l.used, q.room) AS room
    FROM runs_lane l
    JOIN queue q ON q.id = l.slots_id
    WHERE l.id IN (SELECT lane_id FROM candidate)
    ORDER BY l.id
    FOR NO KEY UPDATE OF l SKIP LOCKED
),
in_lane AS (
    SELECT c.*, l.slots_id, l.queue_room, l.room,
           row_number() OVER (PARTITION BY c.lane_id ORDER BY c.order_at, c.run_id) AS nth
    FROM candidate c
    JOIN lane l ON l.id = c.lane_id
),
in_queue AS (
    SELECT run_id, lane_id, slots_id, environment_id, order_at, queue_room,
           row_number() OVER (PARTITION BY slots_id ORDER BY order_at, run_id) AS nth
    FROM in_lane
    WHERE nth <= room
),
in_environment AS (
    SELECT run_id, lane_id, slots_id, environment_id, order_at,
           row_number() OVER (PARTITION BY environment_id ORDER BY order_at, run_id) AS nth
    FROM in_queue
    WHERE nth <= queue_room
),
chosen AS (
    SELECT c.run_id, c.lane_id, c.slots_id, e.organization_room,
           row_number() OVER (PARTITION BY e.organization_id ORDER BY c.order_at, c.run_id) AS nth
    FROM in_environment c
    JOIN environment e USING (environment_id)
    WHERE c.nth <= e.room
),
run AS (
    UPDATE runs_run r
    SET status = 'EXECUTING', generation = r.generation + 1, updated_at = %(now)s
    FROM chosen c
    WHERE c.nth <= c.organization_room AND r.id = c.run_id AND r.status = 'QUEUED'
    RETURNING r.id, r.environment_id, r.generation, r.attempt_count, c.lane_id, c.slots_id
),
gone AS (
    DELETE FROM runs_readyrun WHERE run_id IN (SELECT id FROM run)
),
served AS (
    UPDATE runs_lane l SET used = l.used + t.taken
    FROM (SELECT lane_id, count(*) AS taken FROM run GROUP BY lane_id) AS t
    WHERE l.id = t.lane_id
),
queue_served AS (
    UPDATE runs_queueslots q SET used = q.used + t.taken
    FROM (SELECT slots_id, count(*) AS taken FROM run GROUP BY slots_id) AS t
    WHERE q.id = t.slots_id
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
