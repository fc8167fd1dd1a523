-- Claim ready runs for the free places of connected workers: take the rows, the slots and the
-- leases at once, and return all that a worker needs to start.
--
-- A place is one free slot of one session. For each environment with room, the least recently
-- served lanes with room are visited, and their oldest matching runs compete round by round: first
-- every lane's first, then every lane's second. A run fits a place when it is locked to the place's
-- version, or not locked and that version is the current one, and the machine preset agrees.
-- The cost follows the lanes with room, not the backlog: full and empty lanes are not in the index.
--
-- Tables: runs_environmentslots, runs_lane, runs_readyrun (locked, skipping what is locked),
-- runs_run, runs_lease, runs_runevent (written). A lane that turns out empty is closed, unless
-- somebody is adding to it.
-- Parameters: sessions uuid[], environments uuid[], versions uuid[], machines text[] ('' = any),
-- free int[] (parallel); most int, now, delivery interval.
WITH place AS (
    SELECT o.environment_id, o.version_id, o.machine, o.session_id,
           row_number() OVER (
               PARTITION BY o.environment_id, o.version_id, o.machine ORDER BY n, o.session_id
           ) AS seat
    FROM unnest(
        %(sessions)s::uuid[], %(environments)s::uuid[], %(versions)s::uuid[], %(machines)s::text[],
        %(free)s::int[]
    ) AS o (session_id, environment_id, version_id, machine, free)
    CROSS JOIN LATERAL generate_series(1, least(o.free, %(most)s::int)) AS n
),
supply AS (
    SELECT p.environment_id, p.version_id, p.machine, count(*) AS seats,
           coalesce(p.version_id = max(c.version_id::text)::uuid, false) AS is_current
    FROM place p
    LEFT JOIN deployments_promotion c USING (environment_id)
    GROUP BY p.environment_id, p.version_id, p.machine
),
room AS (
    SELECT s.environment_id, floor(e.concurrency_limit * e.burst_factor)::int - s.used AS room
    FROM runs_environmentslots s
    JOIN environments_environment e ON e.id = s.environment_id
    WHERE s.environment_id IN (SELECT environment_id FROM supply)
      AND e.paused_at IS NULL
      AND e.archived_at IS NULL
      AND s.used < floor(e.concurrency_limit * e.burst_factor)
    ORDER BY s.environment_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
),
lane AS MATERIALIZED (
    SELECT r.environment_id, r.room, l.id, coalesce(l.cap - l.used, r.room) AS lane_room, l.served_at
    FROM room r
    CROSS JOIN LATERAL (
        SELECT id, cap, used, served_at
        FROM runs_lane
        WHERE environment_id = r.environment_id
          AND is_open AND NOT is_paused AND (cap IS NULL OR used < cap)
        ORDER BY served_at
        LIMIT %(most)s
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS l
),
candidate AS MATERIALIZED (
    SELECT DISTINCT ON (c.run_id)
           c.run_id, c.order_at, l.id AS lane_id, l.served_at, l.environment_id, l.room, l.lane_room,
           s.version_id, s.machine, s.seats
    FROM lane l
    JOIN supply s USING (environment_id)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT run_id, order_at FROM runs_readyrun r
            WHERE r.lane_id = l.id AND r.version_id = s.version_id AND r.session_id IS NULL
              AND (s.machine = '' OR r.machine = s.machine)
            ORDER BY r.order_at, r.run_id
            LIMIT least(s.seats, l.lane_room, l.room)
            FOR UPDATE SKIP LOCKED
        ) AS locked_to_version
        UNION ALL
        SELECT * FROM (
            SELECT run_id, order_at FROM runs_readyrun r
            WHERE s.is_current
              AND r.lane_id = l.id AND r.version_id IS NULL AND r.session_id IS NULL
              AND (s.machine = '' OR r.machine = s.machine)
            ORDER BY r.order_at, r.run_id
            LIMIT least(s.seats, l.lane_room, l.room)
            FOR UPDATE SKIP LOCKED
        ) AS not_locked
    ) AS c
    ORDER BY c.run_id, s.machine DESC
),
turn AS (
    SELECT *, row_number() OVER (PARTITION BY lane_id ORDER BY order_at, run_id) AS turn
    FROM candidate
),
in_environment AS (
    SELECT *, row_number() OVER (
        PARTITION BY environment_id ORDER BY turn, served_at, order_at, run_id
    ) AS nth
    FROM turn
    WHERE turn <= lane_room
),
seated AS (
    SELECT *, row_number() OVER (
        PARTITION BY environment_id, version_id, machine ORDER BY nth
    ) AS seat
    FROM in_environment
    WHERE nth <= room
),
chosen AS MATERIALIZED (
    SELECT s.run_id, s.lane_id, s.environment_id, s.version_id, p.session_id, s.nth
    FROM seated s
    JOIN place p USING (environment_id, version_id, machine, seat)
    ORDER BY s.nth, s.run_id
    LIMIT %(most)s
),
gone AS (
    DELETE FROM runs_readyrun WHERE run_id IN (SELECT run_id FROM chosen)
),
empty AS MATERIALIZED (
    -- who adds a run holds a key-share lock on its lane from before until the commit: then it
    -- stays open
    SELECT l.id FROM runs_lane l
    WHERE l.id IN (SELECT id FROM lane)
      AND NOT EXISTS (
          SELECT FROM runs_readyrun r WHERE r.lane_id = l.id AND r.session_id IS NULL
      )
    FOR UPDATE SKIP LOCKED
),
closed AS (
    -- asked again under the lock, since a run may have been added after this statement began
    UPDATE runs_lane SET is_open = false, served_at = %(now)s
    WHERE id IN (SELECT id FROM empty WHERE runs_lane_is_empty(id))
),
run AS (
    UPDATE runs_run r
    SET status = 'DEQUEUED', generation = r.generation + 1, delivery_count = r.delivery_count + 1,
        updated_at = %(now)s
    FROM chosen c
    WHERE r.id = c.run_id AND r.status = 'QUEUED'
    RETURNING r.*, c.session_id, c.lane_id, c.version_id AS place_version_id, c.nth
),
served AS (
    -- lanes that could give nothing to these workers go to the end of the line too
    UPDATE runs_lane l
    SET used = l.used + t.taken, served_at = %(now)s
    FROM (
        SELECT lane.id, count(run.id) AS taken
        FROM lane
        LEFT JOIN run ON run.lane_id = lane.id
        WHERE EXISTS (
            SELECT FROM runs_readyrun r WHERE r.lane_id = lane.id AND r.session_id IS NULL
        )
        GROUP BY lane.id
    ) AS t
    WHERE l.id = t.id
),
used AS (
    UPDATE runs_environmentslots s SET used = s.used + t.taken
    FROM (SELECT environment_id, count(*) AS taken FROM run GROUP BY environment_id) AS t
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
SELECT r.*, v.number AS place_version_number
FROM run r
JOIN deployments_version v ON v.id = r.place_version_id
ORDER BY r.nth
