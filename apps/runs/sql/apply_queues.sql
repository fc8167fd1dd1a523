-- Give queues and lanes the limits, the rates, the weights and the pause of what is declared and
-- overridden, where they have others: all of an environment, or the open ones of all environments.
-- A lane of one task lets a single run execute whatever its queue says.
-- Tables: runs_queueslots, runs_lane (written, in id order), deployments_queue,
-- deployments_keyoverride (read). Returns how many lanes and how many queues it changed.
-- Parameters: environment uuid or NULL for all, most int, now.
WITH declared AS (
    SELECT s.id, coalesce(q.total_override, q.total_limit) AS cap,
           coalesce(q.override, q.concurrency_limit) AS key_cap,
           q.paused_at IS NOT NULL AS is_paused, q.weight, q.key_weights, q.id AS queue_id,
           (q.rate->>'limit')::int AS rate_limit, (q.rate->>'period')::float8 AS rate_seconds,
           (q.rate->>'burst')::int AS rate_burst, (q.key_rate->>'limit')::int AS key_rate_limit,
           (q.key_rate->>'period')::float8 AS key_rate_seconds,
           (q.key_rate->>'burst')::int AS key_rate_burst
    FROM deployments_queue q
    JOIN runs_queueslots s ON s.environment_id = q.environment_id AND s.queue = q.name
    WHERE CASE
              WHEN %(environment)s::uuid IS NULL THEN s.is_open
              ELSE q.environment_id = %(environment)s::uuid
          END
),
changed AS MATERIALIZED (
    SELECT d.*,
           (s.rate_limit, s.rate_seconds, s.rate_burst)
               IS DISTINCT FROM (d.rate_limit, d.rate_seconds, d.rate_burst) AS has_other_rate,
           (s.key_rate_limit, s.key_rate_seconds, s.key_rate_burst) IS DISTINCT FROM
               (d.key_rate_limit, d.key_rate_seconds, d.key_rate_burst) AS has_other_key_rate
    FROM declared d
    JOIN runs_queueslots s USING (id)
    WHERE (s.cap, s.key_cap, s.is_paused, s.weight, s.key_weights, s.rate_limit, s.rate_seconds,
           s.rate_burst, s.key_rate_limit, s.key_rate_seconds, s.key_rate_burst)
          IS DISTINCT FROM
          (d.cap, d.key_cap, d.is_paused, d.weight, d.key_weights, d.rate_limit, d.rate_seconds,
           d.rate_burst, d.key_rate_limit, d.key_rate_seconds, d.key_rate_burst)
    ORDER BY s.id
    LIMIT %(most)s
    FOR NO KEY UPDATE OF s
),
queue AS (
    UPDATE runs_queueslots s
    SET cap = c.cap, key_cap = c.key_cap, is_paused = c.is_paused, weight = c.weight,
        key_weights = c.key_weights, rate_limit = c.rate_limit, rate_seconds = c.rate_seconds,
        rate_burst = c.rate_burst, key_rate_limit = c.key_rate_limit,
        key_rate_seconds = c.key_rate_seconds, key_rate_burst = c.key_rate_burst,
        rate_at = CASE WHEN NOT c.has_other_rate THEN s.rate_at END,
        rate_used = CASE WHEN NOT c.has_other_rate THEN s.rate_used ELSE 0 END,
        held_until = CASE WHEN NOT c.has_other_rate THEN s.held_until END
    FROM changed c
    WHERE s.id = c.id
    RETURNING s.id
),
other AS MATERIALIZED (
    SELECT l.id, n.cap, n.weight, n.is_freed
    FROM declared d
    JOIN runs_lane l ON l.slots_id = d.id
    LEFT JOIN deployments_keyoverride o
        ON o.queue_id = d.queue_id AND o.key = l.key AND o.expires_at > %(now)s
    CROSS JOIN LATERAL (
        SELECT CASE WHEN l.task <> '' THEN least(d.key_cap, 1) ELSE coalesce(o.cap, d.key_cap) END
                   AS cap,
               coalesce((d.key_weights->>l.key)::float8, 1) AS weight,
               d.id IN (SELECT id FROM changed WHERE has_other_key_rate) AS is_freed
    ) AS n
    WHERE (%(environment)s::uuid IS NOT NULL OR l.is_open)
      AND (l.cap IS DISTINCT FROM n.cap OR l.weight <> n.weight
           OR (n.is_freed AND l.rate_at IS NOT NULL))
      AND (SELECT count(*) FROM queue) >= 0  -- queues first
    ORDER BY l.id
    LIMIT %(most)s
    FOR NO KEY UPDATE OF l
),
lane AS (
    UPDATE runs_lane l
    SET cap = o.cap, weight = o.weight,
        rate_at = CASE WHEN NOT o.is_freed THEN l.rate_at END,
        rate_used = CASE WHEN NOT o.is_freed THEN l.rate_used ELSE 0 END,
        held_until = CASE WHEN NOT o.is_freed THEN l.held_until END
    FROM other o
    WHERE l.id = o.id
    RETURNING l.id
)
SELECT (SELECT count(*) FROM lane) AS lanes, (SELECT count(*) FROM queue) AS queues
