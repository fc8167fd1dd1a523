-- Find the lanes of these (environment, queue, key, task) quadruples, making missing ones and opening
-- closed ones, and their queues with them; none of them is closed before the caller's commit. One
-- whose lane or queue another transaction is making right now is not returned: ask again.
-- Tables: runs_lane (key-share locked; rows made, or opened in id order), runs_queueslots (before
-- those lanes: key-share locked, opened or made), runs_environmentslots (made with its first queue),
-- deployments_queue, deployments_keyoverride (read for the limits).
-- Parameters: environments uuid[], queues text[], keys text[], tasks text[] (parallel), now.
WITH wanted AS (
    SELECT DISTINCT environment_id, queue, key, task
    FROM unnest(%(environments)s::uuid[], %(queues)s::text[], %(keys)s::text[], %(tasks)s::text[])
        AS w (environment_id, queue, key, task)
),
known AS MATERIALIZED (
    SELECT w.*, s.id AS slots_id, s.key_cap, s.key_weights
    FROM wanted w
    JOIN runs_queueslots s USING (environment_id, queue)
),
present AS MATERIALIZED (
    SELECT l.id, k.environment_id, k.queue, k.key, k.task, l.slots_id, l.is_open
    FROM known k
    JOIN runs_lane l USING (slots_id, key, task)
    ORDER BY l.id
    FOR KEY SHARE OF l
),
missing AS MATERIALIZED (
    SELECT * FROM known k
    WHERE NOT EXISTS (
        SELECT FROM present p WHERE (p.slots_id, p.key, p.task) = (k.slots_id, k.key, k.task)
    )
),
held AS MATERIALIZED (
    SELECT id, is_open FROM runs_queueslots
    WHERE id IN (
        SELECT slots_id FROM present WHERE NOT is_open UNION ALL SELECT slots_id FROM missing
    )
    ORDER BY id
    FOR KEY SHARE
),
shut AS MATERIALIZED (
    SELECT id FROM runs_queueslots
    WHERE id IN (SELECT id FROM held WHERE NOT is_open)
    ORDER BY id
    FOR NO KEY UPDATE
),
queue_opened AS (
    UPDATE runs_queueslots SET is_open = true WHERE id IN (SELECT id FROM shut)
),
queue_made AS (
    INSERT INTO runs_queueslots (
        environment_id, queue, cap, key_cap, used, is_open, is_paused, weight, turn, clock,
        rate_limit, rate_seconds, rate_burst, rate_used,
        key_rate_limit, key_rate_seconds, key_rate_burst, key_weights
    )
    SELECT w.environment_id, w.queue, coalesce(q.total_override, q.total_limit),
           coalesce(q.override, q.concurrency_limit), 0, true, q.paused_at IS NOT NULL,
           coalesce(q.weight, 1), 0, 0,
           (q.rate->>'limit')::int, (q.rate->>'period')::float8, (q.rate->>'burst')::int, 0,
           (q.key_rate->>'limit')::int, (q.key_rate->>'period')::float8,
           (q.key_rate->>'burst')::int, coalesce(q.key_weights, '{}')
    FROM (SELECT DISTINCT environment_id, queue FROM wanted) AS w
    LEFT JOIN deployments_queue q ON q.environment_id = w.environment_id AND q.name = w.queue
    WHERE NOT EXISTS (
        SELECT FROM known k WHERE (k.environment_id, k.queue) = (w.environment_id, w.queue)
    )
    ORDER BY w.environment_id, w.queue
    ON CONFLICT DO NOTHING
    RETURNING id, environment_id, queue, key_cap, key_weights
),
slots AS (
    INSERT INTO runs_environmentslots (environment_id, used, clock, turn, tag, organization_tag)
    SELECT DISTINCT environment_id, 0, 0, 0, 0, 0 FROM queue_made
    ON CONFLICT DO NOTHING
),
closed AS (
    SELECT id FROM runs_lane
    WHERE id IN (SELECT id FROM present WHERE NOT is_open)
      AND (SELECT count(*) FROM shut) >= 0  -- queues first
    ORDER BY id
    FOR NO KEY UPDATE
),
opened AS (
    UPDATE runs_lane SET is_open = true WHERE id IN (SELECT id FROM closed)
),
made AS (
    INSERT INTO runs_lane (
        environment_id, slots_id, queue, key, task, cap, used, is_open, weight, turn, rate_used,
        served_at
    )
    SELECT m.environment_id, m.slots_id, m.queue, m.key, m.task,
           CASE WHEN m.task <> '' THEN least(m.key_cap, 1) ELSE coalesce(o.cap, m.key_cap) END,
           0, true, coalesce((m.key_weights->>m.key)::float8, 1), 0, 0, %(now)s
    FROM (
        SELECT environment_id, queue, key, task, slots_id, key_cap, key_weights FROM missing
        UNION ALL
        SELECT w.environment_id, w.queue, w.key, w.task, q.id, q.key_cap, q.key_weights
        FROM wanted w JOIN queue_made q USING (environment_id, queue)
    ) AS m
    LEFT JOIN deployments_queue d ON d.environment_id = m.environment_id AND d.name = m.queue
    LEFT JOIN deployments_keyoverride o
        ON o.queue_id = d.id AND o.key = m.key AND o.expires_at > %(now)s
    WHERE (SELECT count(*) FROM shut) >= 0
    ORDER BY m.slots_id, m.key, m.task
    ON CONFLICT DO NOTHING
    RETURNING id, environment_id, queue, key, task
)
SELECT id, environment_id, queue, key, task FROM present
UNION ALL
SELECT id, environment_id, queue, key, task FROM made
