-- The lanes of a queue, those with most slots first: what each holds, and what waits up to a bound.
-- Tables: runs_queueslots, runs_lane, runs_readyrun (read).
-- Parameters: environment uuid, queue text, most int, most_queued int, now timestamptz.
SELECT n.key, n.task, n.cap, n.used AS running, n.weight,
       CASE WHEN n.held_until > %(now)s THEN n.held_until END AS held_until, w.queued
FROM (
    SELECT l.*
    FROM runs_queueslots q
    JOIN runs_lane l ON l.slots_id = q.id
    WHERE q.environment_id = %(environment)s::uuid AND q.queue = %(queue)s
    ORDER BY l.used DESC, l.is_open DESC, l.key, l.task
    LIMIT %(most)s
) AS n
CROSS JOIN LATERAL (
    SELECT count(*)::int AS queued
    FROM (
        SELECT FROM runs_readyrun r
        WHERE n.is_open AND r.lane_id = n.id AND r.session_id IS NULL
        LIMIT %(most_queued)s
    ) AS waiting
) AS w
ORDER BY n.used DESC, n.is_open DESC, n.key, n.task
