-- Lock the slots that these runs hold, from the top down, for who will give them back in more than
-- one statement. The caller holds the run locks.
-- Tables: runs_environmentslots, runs_queueslots, runs_lane (locked in this order, each in id order),
-- runs_lease (read). Parameters: runs uuid[].
WITH held AS MATERIALIZED (
    SELECT l.environment_id, n.slots_id, l.lane_id
    FROM runs_lease l JOIN runs_lane n ON n.id = l.lane_id
    WHERE l.run_id = ANY(%(runs)s::uuid[]) AND l.holds_slot
),
environment AS MATERIALIZED (
    SELECT environment_id FROM runs_environmentslots
    WHERE environment_id IN (SELECT environment_id FROM held)
    ORDER BY environment_id
    FOR NO KEY UPDATE
),
queue AS MATERIALIZED (
    SELECT id FROM runs_queueslots
    WHERE id IN (SELECT slots_id FROM held) AND (SELECT count(*) FROM environment) >= 0
    ORDER BY id
    FOR NO KEY UPDATE
)
SELECT id FROM runs_lane
WHERE id IN (SELECT lane_id FROM held) AND (SELECT count(*) FROM queue) >= 0
ORDER BY id
FOR NO KEY UPDATE
