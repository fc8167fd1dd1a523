-- Delete a bite of one old day's rows whose runs are not open.
-- Tables: runs_attempt (written), runs_run (read). Parameters: first, end uuid; most int.
DELETE FROM runs_attempt
WHERE id IN (
    SELECT h.id FROM runs_attempt h
    WHERE h.id >= %(first)s AND h.id < %(end)s
      AND NOT EXISTS (SELECT FROM runs_run r WHERE r.id = h.run_id AND r.finished_at IS NULL)
    LIMIT %(most)s
)
AND id >= %(first)s AND id < %(end)s
