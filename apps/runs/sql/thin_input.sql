-- Delete a bite of one old day's inputs whose runs are not open.
-- Tables: runs_input (written), runs_run (read). Parameters: first, end uuid; most int.
DELETE FROM runs_input
WHERE (run_id, number) IN (
    SELECT h.run_id, h.number FROM runs_input h
    WHERE h.run_id >= %(first)s AND h.run_id < %(end)s
      AND NOT EXISTS (SELECT FROM runs_run r WHERE r.id = h.run_id AND r.finished_at IS NULL)
    LIMIT %(most)s
)
AND run_id >= %(first)s AND run_id < %(end)s
