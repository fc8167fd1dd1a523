-- Lock the schedules that are due, the longest due first, without those that another engine has.
-- Tables: schedules_schedule (locked for no key update, skipping what is locked).
-- Parameters: now, most int.
SELECT id
FROM schedules_schedule
WHERE due_at <= %(now)s
ORDER BY due_at
LIMIT %(most)s
FOR NO KEY UPDATE SKIP LOCKED
