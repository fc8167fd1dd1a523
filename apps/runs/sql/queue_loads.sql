-- How many runs of these queues execute, and how many wait for a place, counted up to a bound.
-- Tables: runs_queueslots, runs_lane, runs_readyrun (read).
-- Parameters: environment uuid, queues text[], most int, now timestamptz.
SELECT q.queue, q.used AS running, w.queued,
       CASE WHEN q.held_until > %(now)s THEN q.held_until END AS held_until  -- kept until it is claimed from
FROM runs_queueslots q
CROSS JOIN LATERAL (
    SELECT count(*)::int AS queued
    FROM (
        SELECT FROM runs_lane n
        JOIN runs_readyrun r ON r.lane_id = n.id AND r.session_id IS NULL
        WHERE n.slots_id = q.id AND n.is_open
        LIMIT %(most)s
    ) AS waiting
) AS w
WHERE q.environment_id = %(environment)s::uuid AND q.queue = ANY(%(queues)s::text[])
