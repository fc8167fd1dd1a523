-- Find the lanes of these (environment, queue, key) triples, making missing ones and opening closed
-- ones; none of them is closed before the caller's commit. A triple whose lane another transaction
-- is making right now is not returned: ask again.
-- Tables: runs_lane (key-share locked; rows made, or opened in id order), runs_environmentslots (made
-- with its first lane), deployments_queue (read for the limit).
-- Parameters: environments uuid[], queues text[], keys text[] (parallel), now.
WITH wanted AS (
    SELECT DISTINCT environment_id, queue, key
    FROM unnest(%(environments)s::uuid[], %(queues)s::text[], %(keys)s::text[])
        AS w (environment_id, queue, key)
),
present AS MATERIALIZED (
    SELECT l.id, l.environment_id, l.queue, l.key, l.is_open
    FROM wanted w
    JOIN runs_lane l USING (environment_id, queue, key)
    ORDER BY l.id
    FOR KEY SHARE OF l
),
closed AS (
    SELECT l.id
    FROM runs_lane l
    WHERE l.id IN (SELECT id FROM present WHERE NOT is_open)
    ORDER BY l.id
    FOR NO KEY UPDATE
),
opened AS (
    UPDATE runs_lane SET is_open = true WHERE id IN (SELECT id FROM closed)
),
made AS (
    INSERT INTO runs_lane (environment_id, queue, key, cap, used, is_open, is_paused, served_at)
    SELECT w.environment_id, w.queue, w.key, coalesce(q.override, q.concurrency_limit),
           0, true, q.paused_at IS NOT NULL, %(now)s
    FROM wanted w
    LEFT JOIN deployments_queue q ON q.environment_id = w.environment_id AND q.name = w.queue
    WHERE NOT EXISTS (
        SELECT FROM present p
        WHERE (p.environment_id, p.queue, p.key) = (w.environment_id, w.queue, w.key)
    )
    ORDER BY w.environment_id, w.queue, w.key
    ON CONFLICT DO NOTHING
    RETURNING id, environment_id, queue, key
),
slots AS (
    INSERT INTO runs_environmentslots (environment_id, used)
    SELECT DISTINCT environment_id, 0 FROM made
    ON CONFLICT DO NOTHING
)
SELECT id, environment_id, queue, key FROM present
UNION ALL
SELECT id, environment_id, queue, key FROM made
