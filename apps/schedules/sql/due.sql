-- Which duties of every tick have something to do: one statement in place of one transaction each.
-- Tables: schedules_schedule, runs_run (read). Parameters: now.
SELECT
    EXISTS (SELECT FROM schedules_schedule WHERE due_at <= %(now)s) AS tick_schedules,
    EXISTS (
        SELECT FROM schedules_schedule s
        WHERE s.held_at IS NOT NULL
          AND NOT EXISTS (
              SELECT FROM runs_run r WHERE r.id = s.latest_run_id AND r.finished_at IS NULL
          )
    ) AS release_held
