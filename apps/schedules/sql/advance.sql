-- Move schedules on: what comes next, what waits, and what came last.
-- Tables: schedules_schedule (the rows that the caller has locked).
-- Parameters: ids uuid[], next_at, due_at, held_at, latest_at timestamptz[], runs uuid[] (parallel;
-- NULL in latest_at and runs keeps what is there), now.
UPDATE schedules_schedule s
SET next_at = d.next_at,
    due_at = d.due_at,
    held_at = d.held_at,
    latest_at = coalesce(d.latest_at, s.latest_at),
    latest_run_id = coalesce(d.run_id, s.latest_run_id),
    updated_at = %(now)s
FROM unnest(
    %(ids)s::uuid[], %(next_at)s::timestamptz[], %(due_at)s::timestamptz[],
    %(held_at)s::timestamptz[], %(latest_at)s::timestamptz[], %(runs)s::uuid[]
) AS d (id, next_at, due_at, held_at, latest_at, run_id)
WHERE s.id = d.id
