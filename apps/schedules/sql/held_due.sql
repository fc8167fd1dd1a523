-- Lock schedules whose tick waits for their latest run, and whose latest run has ended.
-- Tables: schedules_schedule (locked for no key update, skipping what is locked), runs_run (read).
-- Parameters: most int.
SELECT s.id
FROM schedules_schedule s
WHERE s.held_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM runs_run r WHERE r.id = s.latest_run_id AND r.finished_at IS NULL)
ORDER BY s.held_at
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED
