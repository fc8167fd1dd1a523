-- Remove lanes of concurrency keys that nothing has been heard of: closed, empty, with no slot in use
-- and no rate still running. Who adds a run holds a key-share lock on its lane.
-- Tables: runs_lane (locked, skipping what is locked; removed), runs_readyrun (read).
-- Parameters: before, now, most int.
WITH unused AS MATERIALIZED (
    SELECT id FROM runs_lane l
    WHERE NOT is_open AND used = 0 AND served_at < %(before)s
      AND (key <> '' OR task <> '')
      AND (rate_at IS NULL OR rate_at <= %(now)s)
      AND NOT EXISTS (
          SELECT FROM runs_readyrun r WHERE r.lane_id = l.id AND r.session_id IS NOT NULL
      )
    ORDER BY served_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM runs_lane WHERE id IN (SELECT id FROM unused) AND NOT is_open AND used = 0
