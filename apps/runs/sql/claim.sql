-- Claim ready runs for the free places of connected workers: take the rows, the slots and the
-- leases at once, and return all that a worker needs to start.
--
-- A place is one free slot of one session. Environments, their queues in turn and the lanes of these
-- in turn are looked through for runs that fit, those that have some are locked from the top down,
-- and each level cuts what the one below offers to its room: lane, queue, environment, organization.
-- What wins a place is decided by virtual time: a start moves a lane, its queue, its environment and
-- its organization on by 1/weight, and who is behind comes first; nobody comes from further back
-- than where the others are. An organization has no row: where it is, is on those of its
-- environments. A run fits a place when it is locked to the place's version, or not locked and that
-- version is the current one, and the machine preset agrees. The cost follows the queues and lanes
-- with room, not the backlog: those that are full, empty or held by their rate are not in the index.
--
-- Tables: runs_environmentslots, runs_queueslots, runs_lane, runs_readyrun (locked, skipping what is
-- locked), runs_run, runs_lease, runs_runevent (written). A lane that turns out empty is closed,
-- unless somebody is adding to it. The first column names environments that others had locked; a row
-- without an id stands for them when nothing was claimed.
-- Parameters: sessions uuid[], environments uuid[], versions uuid[], machines text[] ('' = any),
-- free int[] (parallel); most int, now, delivery interval.
WITH place AS (
    SELECT o.environment_id, o.version_id, o.machine, o.session_id, n
    FROM unnest(
        %(sessions)s::uuid[], %(environments)s::uuid[], %(versions)s::uuid[], %(machines)s::text[],
        %(free)s::int[]
    ) AS o (session_id, environment_id, version_id, machine, free)
    CROSS JOIN LATERAL generate_series(1, least(o.free, %(most)s::int)) AS n
),
supply AS MATERIALIZED (
    -- the places that are alike, by turns of their sessions
    SELECT p.*, v.number AS version_number, coalesce(p.version_id = c.version_id, false) AS is_current
    FROM (
        SELECT environment_id, version_id, machine, count(*) AS seats,
               array_agg(session_id ORDER BY n, session_id) AS sessions
        FROM place
        GROUP BY environment_id, version_id, machine
    ) AS p
    JOIN deployments_version v ON v.id = p.version_id
    LEFT JOIN deployments_promotion c ON c.environment_id = p.environment_id
),
wanted AS MATERIALIZED (
    SELECT e.id AS environment_id, e.organization_id, e.concurrency_limit AS base,
           floor(e.concurrency_limit * e.burst_factor)::int AS ceiling,
           g.concurrency_limit AS organization_limit, e.weight, g.weight AS organization_weight,
           least(p.seats, %(most)s::int) AS seats
    FROM (SELECT environment_id, sum(seats)::int AS seats FROM supply GROUP BY 1) AS p
    JOIN environments_environment e ON e.id = p.environment_id
    JOIN orgs_organization g ON g.id = e.organization_id
    JOIN runs_environmentslots s ON s.environment_id = e.id
    WHERE e.paused_at IS NULL AND e.archived_at IS NULL
      AND s.used < floor(e.concurrency_limit * e.burst_factor)
      AND EXISTS (
          SELECT FROM runs_queueslots q
          WHERE q.environment_id = e.id AND q.is_open AND NOT q.is_paused
            AND (q.cap IS NULL OR q.used < q.cap) AND q.held_until IS NULL
          UNION ALL
          SELECT FROM runs_queueslots q
          WHERE q.environment_id = e.id AND q.is_open AND NOT q.is_paused
            AND (q.cap IS NULL OR q.used < q.cap) AND q.held_until <= %(now)s
      )
),
limited AS MATERIALIZED (
    -- a limit of an organization counts over all of its environments, so all must be ours
    SELECT s.environment_id, w.organization_id, w.organization_limit
    FROM (
        SELECT DISTINCT organization_id, organization_limit
        FROM wanted WHERE organization_limit IS NOT NULL
    ) AS w
    JOIN environments_environment e ON e.organization_id = w.organization_id
    JOIN runs_environmentslots s ON s.environment_id = e.id
),
ours AS MATERIALIZED (
    SELECT environment_id, used, clock, turn, tag, organization_tag
    FROM runs_environmentslots
    WHERE environment_id IN (
        SELECT environment_id FROM wanted UNION ALL SELECT environment_id FROM limited
    )
    ORDER BY environment_id
    FOR NO KEY UPDATE SKIP LOCKED
),
organization AS MATERIALIZED (
    SELECT l.organization_id, min(l.organization_limit) - sum(o.used) AS room, max(o.tag) AS clock
    FROM limited l LEFT JOIN ours o USING (environment_id)
    GROUP BY l.organization_id
    HAVING count(o.environment_id) = count(*)
),
environment AS MATERIALIZED (
    SELECT w.environment_id, w.organization_id, w.base, w.seats, o.clock, w.weight,
           w.organization_limit IS NOT NULL AS is_limited,
           least(w.ceiling - o.used, g.room) AS room, g.room AS organization_room,
           greatest(o.turn, g.clock, max(o.tag) OVER (PARTITION BY w.organization_id)) AS turn,
           w.organization_weight,
           greatest(
               max(o.organization_tag) OVER (PARTITION BY w.organization_id)
               + 1 / w.organization_weight,
               max(o.organization_tag) OVER ()
           ) AS organization_start,
           (
               SELECT 2 * w.seats / greatest(count(*), 1) + 2
               FROM (
                   SELECT FROM runs_queueslots q
                   WHERE q.environment_id = w.environment_id AND q.is_open AND NOT q.is_paused
                     AND (q.cap IS NULL OR q.used < q.cap) AND q.held_until IS NULL
                   LIMIT w.seats
               ) AS queues
           ) AS lanes
    FROM wanted w
    JOIN ours o USING (environment_id)
    LEFT JOIN organization g USING (organization_id)
    WHERE o.used < w.ceiling AND (w.organization_limit IS NULL OR g.room > 0)
),
found AS MATERIALIZED (
    -- read as far as need be: what has nothing for these workers is passed over without a lock
    SELECT e.environment_id, f.slots_id, f.lane_id
    FROM environment e
    CROSS JOIN LATERAL (
        SELECT q.id AS slots_id, l.id AS lane_id
        FROM (
            SELECT * FROM (
                SELECT id FROM runs_queueslots
                WHERE environment_id = e.environment_id AND is_open AND NOT is_paused
                  AND (cap IS NULL OR used < cap) AND held_until IS NULL
                ORDER BY turn
                LIMIT 5000
            ) AS in_turn
            UNION ALL
            SELECT * FROM (
                SELECT id FROM runs_queueslots
                WHERE environment_id = e.environment_id AND is_open AND NOT is_paused
                  AND (cap IS NULL OR used < cap) AND held_until <= %(now)s
                ORDER BY held_until
                LIMIT 5000
            ) AS allowed_again
        ) AS q
        CROSS JOIN LATERAL (
            SELECT n.id
            FROM (
                SELECT * FROM (
                    SELECT id FROM runs_lane
                    WHERE slots_id = q.id AND is_open AND (cap IS NULL OR used < cap)
                      AND held_until IS NULL
                    ORDER BY turn
                    LIMIT 5000
                ) AS in_turn
                UNION ALL
                SELECT * FROM (
                    SELECT id FROM runs_lane
                    WHERE slots_id = q.id AND is_open AND (cap IS NULL OR used < cap)
                      AND held_until <= %(now)s
                    ORDER BY held_until
                    LIMIT 5000
                ) AS allowed_again
            ) AS n
            WHERE EXISTS (
                SELECT FROM supply s
                WHERE s.environment_id = e.environment_id AND (
                    EXISTS (
                        SELECT FROM runs_readyrun r
                        WHERE r.lane_id = n.id AND r.version_id = s.version_id
                          AND r.session_id IS NULL AND (s.machine = '' OR r.machine = s.machine)
                    )
                    OR s.is_current AND EXISTS (
                        SELECT FROM runs_readyrun r
                        WHERE r.lane_id = n.id AND r.version_id IS NULL
                          AND r.session_id IS NULL AND (s.machine = '' OR r.machine = s.machine)
                    )
                )
            )
            LIMIT e.lanes
        ) AS l
        LIMIT 4 * e.seats + 20
    ) AS f
),
queue AS MATERIALIZED (
    SELECT q.id, e.environment_id, e.seats, q.weight, q.turn, q.clock, q.rate_limit, q.rate_seconds,
           q.rate_burst, q.rate_at, q.rate_used, q.key_rate_limit, q.key_rate_seconds,
           q.key_rate_burst, greatest(q.turn, e.clock) AS start,
           least(
               q.cap - q.used, e.base - q.used, e.room,
               runs_rate_room(
                   q.rate_limit, q.rate_seconds, q.rate_burst, q.rate_at, q.rate_used, %(now)s
               )
           ) AS room
    FROM runs_queueslots q
    JOIN environment e USING (environment_id)
    WHERE q.id IN (SELECT slots_id FROM found)
      AND NOT q.is_paused AND (q.cap IS NULL OR q.used < q.cap)
    ORDER BY q.id
    FOR NO KEY UPDATE OF q SKIP LOCKED
),
lane AS MATERIALIZED (
    SELECT l.id, q.id AS slots_id, q.environment_id, q.seats, l.weight, l.turn, l.rate_at,
           l.rate_used, q.key_rate_limit, q.key_rate_seconds, q.key_rate_burst,
           greatest(l.turn, q.clock) AS start,
           least(
               l.cap - l.used, q.room,
               runs_rate_room(
                   q.key_rate_limit, q.key_rate_seconds, q.key_rate_burst, l.rate_at, l.rate_used,
                   %(now)s
               )
           ) AS room
    FROM runs_lane l
    JOIN queue q ON q.id = l.slots_id
    WHERE l.id IN (SELECT lane_id FROM found)
      AND q.room > 0 AND (l.cap IS NULL OR l.used < l.cap)
    ORDER BY l.id
    FOR NO KEY UPDATE OF l SKIP LOCKED
),
candidate AS MATERIALIZED (
    SELECT DISTINCT ON (c.run_id)
           c.run_id, c.order_at, l.id AS lane_id, l.slots_id, l.environment_id, l.start, l.turn,
           l.weight, l.room, s.version_id, s.machine
    FROM (SELECT *, count(*) OVER (PARTITION BY environment_id) AS lanes FROM lane) AS l
    JOIN supply s USING (environment_id)
    CROSS JOIN LATERAL (
        SELECT least(s.seats, l.room, 2 * l.seats / l.lanes + 2) AS runs
    ) AS b
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT run_id, order_at FROM runs_readyrun r
            WHERE r.lane_id = l.id AND r.version_id = s.version_id AND r.session_id IS NULL
              AND (s.machine = '' OR r.machine = s.machine)
            ORDER BY r.order_at, r.run_id
            LIMIT b.runs
        ) AS locked_to_version
        UNION ALL
        SELECT * FROM (
            SELECT run_id, order_at FROM runs_readyrun r
            WHERE s.is_current
              AND r.lane_id = l.id AND r.version_id IS NULL AND r.session_id IS NULL
              AND (s.machine = '' OR r.machine = s.machine)
            ORDER BY r.version_id, r.order_at, r.run_id  -- all null: read in the index's order
            LIMIT b.runs
        ) AS not_locked
    ) AS c
    WHERE l.room > 0
    ORDER BY c.run_id, s.machine DESC
),
in_lane AS (
    SELECT *, row_number() OVER (PARTITION BY lane_id ORDER BY order_at, run_id) AS nth
    FROM candidate
),
in_queue AS (
    SELECT c.run_id, c.order_at, c.lane_id, c.slots_id, c.environment_id, c.version_id, c.machine,
           c.start + (c.nth - 1) / c.weight AS tag,
           row_number() OVER (
               PARTITION BY c.slots_id
               ORDER BY c.start + (c.nth - 1) / c.weight, c.turn, c.order_at, c.run_id
           ) AS nth
    FROM in_lane c
    WHERE c.nth <= c.room
),
in_environment AS (
    SELECT c.*, q.start + (c.nth - 1) / q.weight AS queue_tag,
           row_number() OVER (
               PARTITION BY c.environment_id
               ORDER BY q.start + (c.nth - 1) / q.weight, q.turn, c.order_at, c.run_id
           ) AS place
    FROM in_queue c
    JOIN queue q ON q.id = c.slots_id
    WHERE c.nth <= q.room
),
seated AS (
    SELECT c.*, e.organization_id, e.is_limited, e.organization_room, e.turn, e.weight,
           e.organization_start, e.organization_weight,
           row_number() OVER (
               PARTITION BY c.environment_id, c.version_id, c.machine ORDER BY c.place
           ) AS seat
    FROM in_environment c
    JOIN environment e USING (environment_id)
    WHERE c.place <= e.room
),
in_organization AS (
    SELECT s.*, p.sessions[s.seat] AS session_id, p.version_number,
           s.turn + (s.place - 1) / s.weight AS environment_tag,
           row_number() OVER (
               PARTITION BY s.organization_id
               ORDER BY s.turn + (s.place - 1) / s.weight, s.place, s.order_at, s.run_id
           ) AS nth_of_organization
    FROM seated s
    JOIN supply p USING (environment_id, version_id, machine)
    WHERE s.seat <= p.seats
),
chosen AS MATERIALIZED (
    SELECT *, organization_start + (nth_of_organization - 1) / organization_weight
               AS organization_tag
    FROM in_organization
    WHERE NOT is_limited OR nth_of_organization <= organization_room
    ORDER BY organization_tag, place, run_id
    LIMIT %(most)s
),
held AS MATERIALIZED (
    SELECT c.* FROM chosen c JOIN runs_readyrun r USING (run_id) FOR UPDATE OF r SKIP LOCKED
),
gone AS (
    DELETE FROM runs_readyrun WHERE run_id IN (SELECT run_id FROM held)
),
run AS (
    UPDATE runs_run r
    SET status = 'DEQUEUED', generation = r.generation + 1, delivery_count = r.delivery_count + 1,
        updated_at = %(now)s
    FROM held c
    WHERE r.id = c.run_id AND r.status = 'QUEUED'
    RETURNING r.id, r.environment_id, r.generation, r.attempt_count, r.max_attempts, r.task,
              r.payload, r.payload_type, r.metadata, r.max_duration_seconds, r.machine,
              r.executed_ms, r.parent_id, r.root_id, r.depth, r.traceparent, r.tags, r.is_test,
              r.replay_of_id, r.created_at, r.started_at, r.idempotency_key, r.priority_seconds,
              r.queue, r.concurrency_key, r.batch_id, r.source, r.suspended_attempt_id,
              c.session_id, c.lane_id, c.slots_id, c.version_id AS place_version_id,
              c.version_number AS place_version_number, c.place, c.tag, c.queue_tag,
              c.environment_tag, c.organization_tag
),
of_lane AS MATERIALIZED (
    SELECT lane_id, count(*)::int AS taken, max(tag) AS tag FROM run GROUP BY lane_id
),
of_queue AS MATERIALIZED (
    SELECT slots_id, count(*)::int AS taken, max(tag) AS tag, max(queue_tag) AS queue_tag
    FROM run GROUP BY slots_id
),
behind AS MATERIALIZED (
    -- the lanes that were passed over: before the first one found, or all where none was
    SELECT l.id, q.turn, NOT EXISTS (
        SELECT FROM runs_readyrun r WHERE r.lane_id = l.id AND r.session_id IS NULL
    ) AS is_empty
    FROM environment e
    JOIN LATERAL (
        SELECT id FROM runs_queueslots
        WHERE environment_id = e.environment_id AND is_open AND NOT is_paused
          AND (cap IS NULL OR used < cap) AND held_until IS NULL
        ORDER BY turn
        LIMIT 100
    ) AS v ON true
    LEFT JOIN (
        SELECT slots_id, min(turn) AS turn FROM lane GROUP BY slots_id
    ) AS q ON q.slots_id = v.id
    CROSS JOIN LATERAL (
        SELECT id FROM runs_lane
        WHERE slots_id = v.id AND is_open AND (cap IS NULL OR used < cap) AND held_until IS NULL
          AND turn <= coalesce(q.turn, 'infinity')
        ORDER BY turn
        LIMIT 100
    ) AS l
    WHERE l.id NOT IN (SELECT id FROM lane)
),
empty AS MATERIALIZED (
    -- who adds a run holds a key-share lock on its lane from before until the commit: then it
    -- stays open
    SELECT id FROM runs_lane
    WHERE id IN (SELECT id FROM behind WHERE is_empty)
    FOR UPDATE SKIP LOCKED
),
closed AS (
    -- asked again under the lock, since a run may have been added after this statement began
    UPDATE runs_lane SET is_open = false, served_at = %(now)s
    WHERE id IN (SELECT id FROM empty WHERE runs_lane_is_empty(id))
),
passed AS MATERIALIZED (
    -- many with nothing for these workers do not stay in front of those that have something
    SELECT id, (SELECT max(turn) FROM behind) + 0.001 AS turn FROM runs_lane
    WHERE id IN (
        SELECT id FROM behind
        WHERE turn IS NOT NULL AND NOT is_empty AND (SELECT count(*) FROM behind) > 50
    )
    FOR NO KEY UPDATE SKIP LOCKED
),
moved AS (
    UPDATE runs_lane l SET turn = p.turn FROM passed p WHERE l.id = p.id
),
served AS (
    UPDATE runs_lane l
    SET used = l.used + n.taken, turn = n.turn, served_at = %(now)s, rate_at = n.rate_at,
        rate_used = n.rate_used,
        held_until = runs_rate_due(
            n.key_rate_limit, n.key_rate_seconds, n.key_rate_burst, n.rate_at, n.rate_used, %(now)s
        )
    FROM (
        SELECT v.id, t.taken, t.tag + 1 / v.weight AS turn, v.key_rate_limit, v.key_rate_seconds,
               v.key_rate_burst, r.rate_at, r.rate_used
        FROM of_lane t
        JOIN lane v ON v.id = t.lane_id
        CROSS JOIN LATERAL runs_rate_after(
            v.key_rate_limit, v.key_rate_seconds, v.key_rate_burst, v.rate_at, v.rate_used,
            t.taken, %(now)s
        ) AS r
    ) AS n
    WHERE l.id = n.id
    RETURNING l.held_until
),
lane_held AS (
    UPDATE runs_lane l
    SET held_until = runs_rate_due(
        v.key_rate_limit, v.key_rate_seconds, v.key_rate_burst, v.rate_at, v.rate_used, %(now)s
    )
    FROM lane v
    WHERE l.id = v.id AND v.key_rate_limit IS NOT NULL AND v.room <= 0
    RETURNING l.held_until
),
queue_served AS (
    UPDATE runs_queueslots q
    SET used = q.used + n.taken, turn = n.turn, clock = greatest(q.clock, n.tag),
        rate_at = n.rate_at, rate_used = n.rate_used,
        held_until = runs_rate_due(
            q.rate_limit, q.rate_seconds, q.rate_burst, n.rate_at, n.rate_used, %(now)s
        )
    FROM (
        SELECT v.id, t.taken, t.tag, t.queue_tag + 1 / v.weight AS turn, r.rate_at, r.rate_used
        FROM of_queue t
        JOIN queue v ON v.id = t.slots_id
        CROSS JOIN LATERAL runs_rate_after(
            v.rate_limit, v.rate_seconds, v.rate_burst, v.rate_at, v.rate_used, t.taken, %(now)s
        ) AS r
    ) AS n
    WHERE q.id = n.id
    RETURNING q.held_until
),
queue_held AS (
    UPDATE runs_queueslots q
    SET held_until = runs_rate_due(
        v.rate_limit, v.rate_seconds, v.rate_burst, v.rate_at, v.rate_used, %(now)s
    )
    FROM queue v
    WHERE q.id = v.id AND v.rate_limit IS NOT NULL AND v.room <= 0
    RETURNING q.held_until
),
used AS (
    UPDATE runs_environmentslots s
    SET used = s.used + t.taken, clock = greatest(s.clock, t.queue_tag),
        turn = t.tag + 1 / e.weight, tag = t.tag, organization_tag = t.organization_tag
    FROM (
        SELECT environment_id, count(*) AS taken, max(queue_tag) AS queue_tag,
               max(environment_tag) AS tag, max(organization_tag) AS organization_tag
        FROM run GROUP BY environment_id
    ) AS t
    JOIN environment e USING (environment_id)
    WHERE s.environment_id = t.environment_id
),
lease AS (
    INSERT INTO runs_lease (run_id, environment_id, lane_id, version_id, session_id, generation,
                            holds_slot, is_started, claimed_at, expires_at)
    SELECT id, environment_id, lane_id, place_version_id, session_id, generation,
           true, false, %(now)s, %(now)s + %(delivery)s::interval
    FROM run
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at)
    SELECT runs_uuid7(), id, environment_id, 'dequeued', 'DEQUEUED', attempt_count, %(now)s
    FROM run
)
SELECT b.busy, b.free_at, r.id, r.environment_id, r.generation, r.attempt_count, r.max_attempts,
       r.task, r.payload, r.payload_type, r.metadata, r.max_duration_seconds, r.machine,
       r.executed_ms, r.parent_id, r.root_id, r.depth, r.traceparent, r.tags, r.is_test,
       r.replay_of_id, r.created_at, r.started_at, r.idempotency_key, r.priority_seconds, r.queue,
       r.concurrency_key, r.batch_id, r.source, r.suspended_attempt_id, r.session_id,
       r.place_version_number
FROM (
    SELECT array_agg(w.environment_id) AS busy,
           (
               SELECT min(held_until)
               FROM (
                   SELECT held_until FROM served
                   UNION ALL SELECT held_until FROM lane_held
                   UNION ALL SELECT held_until FROM queue_served
                   UNION ALL SELECT held_until FROM queue_held
               ) AS h
           ) AS free_at
    FROM wanted w
    LEFT JOIN ours o USING (environment_id)
    LEFT JOIN organization g USING (organization_id)
    WHERE o.environment_id IS NULL
       OR (w.organization_limit IS NOT NULL AND g.organization_id IS NULL)
) AS b
LEFT JOIN run r ON true
ORDER BY r.place
