-- Have started runs wait: what they wait for, their slots given back, and, where the worker keeps
-- nothing of them, their leases dropped; the attempts of those stay open and go on when the runs are
-- handed out again.
--
-- What a run waited for before is forgotten, unless it has been woken and must still be told. A run
-- whose wait is over already keeps its lease, and so does one that has been woken: its worker goes on
-- with it, unless its process has left: then it is for any worker. The caller holds the locks of the waitpoints, so what is read of them stays true, and those
-- of the runs; no run is named twice.
--
-- Tables: runs_waitpoint (read), runs_wait, runs_run, runs_attempt, runs_lease, runs_readyrun,
-- runs_runevent (written), runs_environmentslots, runs_queueslots, runs_lane (locked in this order, each in id
-- order, and released). Returns every run, whether it is ready for any worker from now on, so that
-- its lane must be open, and the environments in which something may start now that
-- could not before.
-- Parameters: runs uuid[], alls bool[], releases bool[], lefts bool[], executed bigint[] (parallel);
-- waiters uuid[], waitpoints uuid[] (parallel, no pair twice); now.
WITH told AS MATERIALIZED (
    SELECT * FROM unnest(
        %(runs)s::uuid[], %(alls)s::bool[], %(releases)s::bool[], %(lefts)s::bool[],
        %(executed)s::bigint[]
    ) AS t (run_id, needs_all, releases, has_left, executed_ms)
),
named AS MATERIALIZED (
    SELECT n.run_id, n.waitpoint_id, w.completed_at
    FROM unnest(%(waiters)s::uuid[], %(waitpoints)s::uuid[]) AS n (run_id, waitpoint_id)
    JOIN runs_waitpoint w ON w.id = n.waitpoint_id
),
asked AS MATERIALIZED (
    SELECT run_id, count(*) AS many, count(completed_at) AS completed,
           jsonb_build_object('waitpoints', jsonb_agg(waitpoint_id)) AS detail
    FROM named
    GROUP BY run_id
),
state AS MATERIALIZED (
    SELECT t.run_id, t.needs_all, t.executed_ms, r.environment_id, r.attempt_count, a.detail,
           r.status = 'QUEUED' AS is_woken, r.status = 'EXECUTING' AS is_new,
           l.lane_id, l.attempt_id, r.status = 'EXECUTING' AND l.holds_slot AS gives_slot,
           o.is_over AND r.status <> 'QUEUED' AS is_over,
           l.attempt_id IS NOT NULL AND r.status IN ('EXECUTING', 'WAITING', 'QUEUED') AND (
               t.has_left OR (t.releases AND NOT o.is_over AND r.status <> 'QUEUED')
           ) AS is_let_go
    FROM told t
    JOIN runs_run r ON r.id = t.run_id
    JOIN asked a ON a.run_id = t.run_id
    LEFT JOIN runs_lease l ON l.run_id = t.run_id
    CROSS JOIN LATERAL (
        SELECT a.completed = a.many OR (a.completed > 0 AND NOT t.needs_all) AS is_over
    ) AS o
),
forgotten AS (
    DELETE FROM runs_wait w USING state s
    WHERE w.run_id = s.run_id AND NOT s.is_woken AND NOT EXISTS (
        SELECT FROM named n WHERE n.run_id = w.run_id AND n.waitpoint_id = w.waitpoint_id
    )
),
waited AS (
    INSERT INTO runs_wait (run_id, waitpoint_id, needs_all, created_at)
    SELECT n.run_id, n.waitpoint_id, s.needs_all, %(now)s
    FROM named n JOIN state s USING (run_id)
    ON CONFLICT (run_id, waitpoint_id) DO UPDATE SET needs_all = excluded.needs_all
),
run AS (
    UPDATE runs_run r
    SET status = CASE WHEN s.is_woken THEN r.status ELSE 'WAITING' END, updated_at = %(now)s,
        suspended_attempt_id = CASE WHEN s.is_let_go THEN s.attempt_id ELSE r.suspended_attempt_id END,
        executed_ms = r.executed_ms + CASE WHEN s.is_let_go THEN s.executed_ms ELSE 0 END
    FROM state s
    WHERE r.id = s.run_id AND (s.is_new OR s.is_let_go)
),
attempt AS (
    UPDATE runs_attempt a SET executed_ms = a.executed_ms + s.executed_ms
    FROM state s
    WHERE s.is_let_go AND a.id = s.attempt_id
),
dropped AS (
    DELETE FROM runs_lease WHERE run_id IN (SELECT run_id FROM state WHERE is_let_go)
),
kept AS (
    UPDATE runs_lease SET holds_slot = false
    WHERE run_id IN (SELECT run_id FROM state WHERE gives_slot AND NOT is_let_go)
),
ready AS (
    UPDATE runs_readyrun SET session_id = NULL
    WHERE run_id IN (SELECT run_id FROM state WHERE is_let_go AND is_woken)
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at, detail)
    SELECT runs_uuid7(), run_id, environment_id, 'waiting', 'WAITING', attempt_count, %(now)s, detail
    FROM state
    WHERE is_new
),
slot AS MATERIALIZED (
    SELECT runs_release_slots(array_agg(lane_id)) AS unblocked FROM state WHERE gives_slot
)
SELECT s.run_id, s.is_over, s.is_let_go, s.is_let_go AND s.is_woken AS is_for_any, slot.unblocked
FROM state s CROSS JOIN slot
