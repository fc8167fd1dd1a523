-- Prolong the leases that workers say they hold, all workers of a process in one statement; a
-- lease whose run has not started is not prolonged, since only "started" counts as delivered. One
-- that is ahead by a generation was resumed, and its worker may not have heard of it.
-- Returns every lease that is still theirs, and whether its run is being canceled.
-- Tables: runs_lease (written, in run order), runs_run (read).
-- Parameters: sessions uuid[], runs uuid[], generations int[] (parallel); now, lease interval.
WITH told AS (
    SELECT * FROM unnest(%(sessions)s::uuid[], %(runs)s::uuid[], %(generations)s::int[])
        AS t (session_id, run_id, generation)
),
mine AS MATERIALIZED (
    SELECT l.run_id, l.session_id, l.generation, l.is_started, l.holds_slot
    FROM told t
    JOIN runs_lease l USING (run_id, session_id)
    WHERE l.generation = t.generation OR (l.generation = t.generation + 1 AND l.is_started)
    ORDER BY l.run_id
    FOR NO KEY UPDATE OF l
),
extended AS (
    UPDATE runs_lease l SET expires_at = %(now)s + %(lease)s::interval
    FROM mine m
    WHERE l.run_id = m.run_id AND m.is_started
)
SELECT m.session_id, m.run_id, m.generation, m.holds_slot, r.cancel_requested_at, r.status_reason
FROM mine m JOIN runs_run r ON r.id = m.run_id
