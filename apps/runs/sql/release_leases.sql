-- Give the slots of these runs back; keep the lease without its slot, or drop it.
-- The caller holds the run locks. Tables: runs_lease (written), runs_lane, runs_environmentslots
-- (locked in id order, released). Parameters: runs uuid[], keep bool.
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
slot AS (
    SELECT environment_id, lane_id FROM kept WHERE holds_slot
    UNION ALL
    SELECT environment_id, lane_id FROM dropped WHERE holds_slot
),
lane AS (
    SELECT id FROM runs_lane WHERE id IN (SELECT lane_id FROM slot) ORDER BY id FOR NO KEY UPDATE
),
released AS (
    UPDATE runs_lane l SET used = l.used - t.n
    FROM (SELECT lane_id, count(*) AS n FROM slot GROUP BY lane_id) AS t
    WHERE l.id = t.lane_id AND l.id IN (SELECT id FROM lane)
    RETURNING l.id
),
environment AS (
    SELECT environment_id FROM runs_environmentslots
    WHERE environment_id IN (SELECT environment_id FROM slot)
      AND (SELECT count(*) FROM released) >= 0  -- lanes first
    ORDER BY environment_id FOR NO KEY UPDATE
)
UPDATE runs_environmentslots s SET used = s.used - t.n
FROM (SELECT environment_id, count(*) AS n FROM slot GROUP BY environment_id) AS t
WHERE s.environment_id = t.environment_id
  AND s.environment_id IN (SELECT environment_id FROM environment)
