-- Lock the slots that these runs hold, lanes before environments, for who will give them back in
-- more than one statement. The caller holds the run locks.
-- Tables: runs_lane, runs_environmentslots (locked in id order), runs_lease (read).
-- Parameters: runs uuid[].
WITH held AS (
    SELECT environment_id, lane_id FROM runs_lease
    WHERE run_id = ANY(%(runs)s::uuid[]) AND holds_slot
),
lane AS MATERIALIZED (
    SELECT id FROM runs_lane
    WHERE id IN (SELECT lane_id FROM held)
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT environment_id FROM runs_environmentslots
WHERE environment_id IN (SELECT environment_id FROM held)
  AND (SELECT count(*) FROM lane) >= 0  -- lanes first
ORDER BY environment_id
FOR NO KEY UPDATE
