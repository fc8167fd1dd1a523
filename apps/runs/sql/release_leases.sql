-- Give the slots of these runs back; keep the lease without its slot, or drop it.
-- The caller holds the run locks. Tables: runs_lease (written), runs_environmentslots,
-- runs_queueslots, runs_lane (locked in this order, each in id order, and released).
-- Parameters: runs uuid[], keep bool.
WITH kept AS (
    UPDATE runs_lease l SET holds_slot = false
    FROM (SELECT run_id, holds_slot FROM runs_lease WHERE run_id = ANY(%(runs)s::uuid[])) AS old
    WHERE %(keep)s AND l.run_id = old.run_id
    RETURNING l.environment_id, l.lane_id, old.holds_slot
),
dropped AS (
    DELETE FROM runs_lease WHERE NOT %(keep)s AND run_id = ANY(%(runs)s::uuid[])
    RETURNING environment_id, lane_id, holds_slot
),
slot AS MATERIALIZED (
    SELECT s.environment_id, n.slots_id, s.lane_id
    FROM (SELECT * FROM kept UNION ALL SELECT * FROM dropped) AS s
    JOIN runs_lane n ON n.id = s.lane_id
    WHERE s.holds_slot
),
environment AS MATERIALIZED (
    SELECT environment_id FROM runs_environmentslots
    WHERE environment_id IN (SELECT environment_id FROM slot)
    ORDER BY environment_id
    FOR NO KEY UPDATE
),
queue AS MATERIALIZED (
    SELECT id FROM runs_queueslots
    WHERE id IN (SELECT slots_id FROM slot) AND (SELECT count(*) FROM environment) >= 0
    ORDER BY id
    FOR NO KEY UPDATE
),
lane AS MATERIALIZED (
    SELECT id FROM runs_lane
    WHERE id IN (SELECT lane_id FROM slot) AND (SELECT count(*) FROM queue) >= 0
    ORDER BY id
    FOR NO KEY UPDATE
),
of_environment AS (
    UPDATE runs_environmentslots s SET used = s.used - t.n
    FROM (SELECT environment_id, count(*) AS n FROM slot GROUP BY environment_id) AS t
    WHERE s.environment_id = t.environment_id
      AND s.environment_id IN (SELECT environment_id FROM environment)
),
of_queue AS (
    UPDATE runs_queueslots q SET used = q.used - t.n
    FROM (SELECT slots_id, count(*) AS n FROM slot GROUP BY slots_id) AS t
    WHERE q.id = t.slots_id AND q.id IN (SELECT id FROM queue)
)
UPDATE runs_lane l SET used = l.used - t.n
FROM (SELECT lane_id, count(*) AS n FROM slot GROUP BY lane_id) AS t
WHERE l.id = t.lane_id AND l.id IN (SELECT id FROM lane)
