-- Open lanes closed lately that have a ready run all the same: it was added, unseen, while the
-- claim was closing them.
-- Tables: runs_lane (written, skipping what is locked), runs_readyrun (read). Parameters: since.
UPDATE runs_lane SET is_open = true
WHERE id IN (
    SELECT l.id FROM runs_lane l
    WHERE NOT l.is_open AND l.served_at > %(since)s
      AND EXISTS (SELECT FROM runs_readyrun r WHERE r.lane_id = l.id)
    FOR NO KEY UPDATE SKIP LOCKED
)
