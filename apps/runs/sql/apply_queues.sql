-- Give lanes the limit and the pause of their queue where they have another one: all lanes of an
-- environment, or the open ones of all environments.
-- Tables: runs_lane (written, in id order), deployments_queue (read).
-- Parameters: environment uuid or NULL for all, most int.
WITH changed AS (
    SELECT l.id, coalesce(q.override, q.concurrency_limit) AS cap,
           q.paused_at IS NOT NULL AS is_paused
    FROM deployments_queue q
    JOIN runs_lane l ON l.environment_id = q.environment_id AND l.queue = q.name
    WHERE CASE
              WHEN %(environment)s::uuid IS NULL THEN l.is_open
              ELSE q.environment_id = %(environment)s::uuid
          END
      AND (l.cap IS DISTINCT FROM coalesce(q.override, q.concurrency_limit)
           OR l.is_paused <> (q.paused_at IS NOT NULL))
    ORDER BY l.id
    LIMIT %(most)s
    FOR NO KEY UPDATE OF l
)
UPDATE runs_lane l SET cap = c.cap, is_paused = c.is_paused
FROM changed c
WHERE l.id = c.id
