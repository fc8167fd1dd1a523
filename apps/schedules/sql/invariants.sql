-- Count what must never be of schedules; a row for each rule.
-- Tables: schedules_schedule, schedules_tick, runs_run, environments_environment (read). Parameters: now.
SELECT 'two ticks have one run' AS rule, count(*) AS violations
FROM (SELECT run_id FROM schedules_tick WHERE run_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) AS t
UNION ALL
SELECT 'a schedule started a run without a tick', count(*)
FROM runs_run r
JOIN schedules_schedule s ON s.latest_run_id = r.id
WHERE r.schedule_id = s.id AND s.latest_at > %(now)s::timestamptz - interval '1 day'
  AND NOT EXISTS (SELECT FROM schedules_tick t WHERE t.run_id = r.id)
UNION ALL
SELECT 'a schedule is long overdue', count(*)
FROM schedules_schedule WHERE due_at < %(now)s::timestamptz - interval '2 minutes'
UNION ALL
SELECT 'a tick waits although the latest run has ended', count(*)
FROM schedules_schedule s
JOIN runs_run r ON r.id = s.latest_run_id
WHERE s.held_at IS NOT NULL AND r.finished_at < %(now)s::timestamptz - interval '2 minutes'
