-- Which duties of every tick have something to do: one statement in place of one transaction each.
-- Tables: runs_timer, runs_waitpoint, runs_waking, runs_lease (read). Parameters: now.
SELECT
    EXISTS (SELECT FROM runs_timer WHERE kind = 'due' AND due_at <= %(now)s) AS queue_due,
    EXISTS (
        SELECT FROM runs_waitpoint WHERE completed_at IS NULL AND due_at <= %(now)s
    ) AS complete_due,
    EXISTS (SELECT FROM runs_waking) AS wake_more,
    EXISTS (SELECT FROM runs_timer WHERE kind = 'ttl' AND due_at <= %(now)s) AS expire,
    EXISTS (SELECT FROM runs_lease WHERE expires_at <= %(now)s) AS rescue,
    EXISTS (
        SELECT FROM runs_timer WHERE kind = 'cancel' AND due_at <= %(now)s
    ) AS end_overdue_cancellations
