-- How many runs of a queue wait for a place, counted up to a bound.
-- Tables: runs_queueslots, runs_lane, runs_readyrun (read).
-- Parameters: environment uuid, queue text, most int.
SELECT count(*)::int AS length
FROM (
    SELECT FROM runs_queueslots q
    JOIN runs_lane n ON n.slots_id = q.id AND n.is_open
    JOIN runs_readyrun r ON r.lane_id = n.id AND r.session_id IS NULL
    WHERE q.environment_id = %(environment)s::uuid AND q.queue = %(queue)s
    LIMIT %(most)s
) AS waiting
