-- What runs ask of workers now, per environment, version and machine preset.
--
-- Counted are the ready runs that the claim could take: of environments with room that are not
-- paused, in lanes with room, for the version they are locked to or else the current one. About
-- `most` runs of an environment are looked at, a few in each lane, so that a backlog costs no more
-- than a few workers' worth of rows. Runs whose process a worker still holds need no other worker.
--
-- Tables: environments_environment, orgs_organization, runs_environmentslots, runs_queueslots,
-- runs_lane, runs_readyrun, deployments_promotion (read); no locks. Parameters: most int, now.
WITH room AS (
    SELECT e.id AS environment_id, p.version_id AS current_id,
           least(
               floor(e.concurrency_limit * e.burst_factor)::int - coalesce(s.used, 0),
               g.concurrency_limit - CASE WHEN g.concurrency_limit IS NOT NULL THEN (
                   SELECT coalesce(sum(o.used), 0)::int
                   FROM environments_environment x
                   JOIN runs_environmentslots o ON o.environment_id = x.id
                   WHERE x.organization_id = g.id
               ) END
           ) AS room
    FROM environments_environment e
    JOIN orgs_organization g ON g.id = e.organization_id
    LEFT JOIN runs_environmentslots s ON s.environment_id = e.id
    LEFT JOIN deployments_promotion p ON p.environment_id = e.id
    WHERE e.type <> 'development' AND e.paused_at IS NULL AND e.archived_at IS NULL
      AND floor(e.concurrency_limit * e.burst_factor) > coalesce(s.used, 0)
      AND EXISTS (SELECT FROM runs_readyrun r WHERE r.environment_id = e.id)
),
lane AS (
    SELECT r.environment_id, r.current_id, r.room, l.id,
           least(
               l.cap - l.used, l.queue_room, r.room,
               %(most)s / count(*) OVER (PARTITION BY r.environment_id) + 1
           ) AS lane_room
    FROM room r
    CROSS JOIN LATERAL (
        SELECT n.id, n.cap, n.used, q.cap - q.used AS queue_room
        FROM runs_queueslots q
        JOIN runs_lane n ON n.slots_id = q.id
        WHERE q.environment_id = r.environment_id AND q.is_open AND NOT q.is_paused
          AND (q.cap IS NULL OR q.used < q.cap)
          AND (q.held_until IS NULL OR q.held_until <= %(now)s)
          AND n.is_open AND (n.cap IS NULL OR n.used < n.cap)
          AND (n.held_until IS NULL OR n.held_until <= %(now)s)
        LIMIT 1000
    ) AS l
    WHERE r.room > 0
),
startable AS (
    SELECT l.environment_id, l.room, l.current_id AS version_id, r.machine
    FROM lane l
    CROSS JOIN LATERAL (
        SELECT machine FROM runs_readyrun
        WHERE lane_id = l.id AND version_id IS NULL AND session_id IS NULL
        ORDER BY order_at, run_id
        LIMIT l.lane_room
    ) AS r
    WHERE l.current_id IS NOT NULL
    UNION ALL
    SELECT l.environment_id, l.room, v.version_id, r.machine
    FROM lane l
    CROSS JOIN LATERAL (
        -- the versions of this lane, one index probe each
        WITH RECURSIVE found AS (
            SELECT min(version_id::text)::uuid AS version_id FROM (
                SELECT version_id FROM runs_readyrun
                WHERE lane_id = l.id AND version_id IS NOT NULL AND session_id IS NULL
                ORDER BY version_id LIMIT 1
            ) AS first
            UNION ALL
            SELECT (
                SELECT r.version_id FROM runs_readyrun r
                WHERE r.lane_id = l.id AND r.version_id > f.version_id AND r.session_id IS NULL
                ORDER BY r.version_id LIMIT 1
            )
            FROM found f
            WHERE f.version_id IS NOT NULL
        )
        SELECT version_id FROM found WHERE version_id IS NOT NULL
    ) AS v
    CROSS JOIN LATERAL (
        SELECT machine FROM runs_readyrun
        WHERE lane_id = l.id AND version_id = v.version_id AND session_id IS NULL
        ORDER BY order_at, run_id
        LIMIT l.lane_room
    ) AS r
)
SELECT environment_id, version_id, machine, least(count(*), max(room))::int AS ready
FROM startable
GROUP BY environment_id, version_id, machine
