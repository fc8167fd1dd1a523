-- Drop the leases of these runs and give back the slots that they hold.
-- The caller holds the run locks. Returns the environments in which something may start now that
-- could not before.
-- Tables: runs_lease (removed), runs_environmentslots, runs_queueslots, runs_lane (locked in this
-- order, each in id order, and released). Parameters: runs uuid[].
WITH dropped AS (
    DELETE FROM runs_lease WHERE run_id = ANY(%(runs)s::uuid[])
    RETURNING lane_id, holds_slot
)
SELECT unnest(runs_release_slots(array_agg(lane_id))) AS environment_id FROM dropped WHERE holds_slot
